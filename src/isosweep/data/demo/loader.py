"""The loader of the demo: it renders a procedural scene on first use and reads the files of it after that."""

import errno
import json
import logging
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from isosweep.data import blender
from isosweep.data.blender import is_scene
from isosweep.data.cache import cache_folder
from isosweep.data.demo.make import make, write_blender
from isosweep.data.folders import unknown_demo
from isosweep.data.loading import ViewOptions
from isosweep.errors import InputError
from isosweep.types import Scene

log = logging.getLogger("isosweep")
VERSION = 3
"""Increased, together with dataset.version, whenever a scene's pixels change. Old folders and finished runs on them
are then not taken for the new pixels."""


def load(views: ViewOptions, *, version: int = VERSION) -> Scene:
    """Load a demo scene from ``views.path`` or <root>/demo/<scene>-v<version>, and make it if it is not there.

    Where ``views.root`` cannot be written, the scene is made in the user's cache folder (data/cache.py). Its world
    frame differs from the normalised one by scale 2.5, a rotation and a shift, so that a mesh that was left in the
    wrong frame shows in the Chamfer distance.

    Args:
        views: ``image_ids`` are indices or names of training views.
        version: must be `VERSION`. It is a setting so that a run on other pixels has another key.

    Raises:
        ValueError: no scene of that name; another version; ``views.path`` holds another one; an option that would
            change the demo's splits.
        FileExistsError: the folder has other files.
        OSError: the folder cannot be written.
    """
    scene = views.scene
    if (unknown := unknown_demo(scene)) is not None:
        raise InputError(unknown)
    if version != VERSION:
        raise InputError(
            f"dataset.version={version}: this code makes version {VERSION} of the demo's pictures; for scores "
            "on another one, check out the code that made it"
        )
    if views.test_every is not None or views.val_every is not None:
        raise InputError(
            f"dataset.test_every={views.test_every} and dataset.val_every={views.val_every}: the demo has test and "
            "validation views of its own. Set both to null"
        )
    folder = (
        _made(scene, Path(views.path)) if views.path is not None else _find_or_make(scene, Path(views.root))
    )
    meta = json.loads((folder / "demo.json").read_text())
    if meta["name"] != scene:
        raise InputError(
            f"{folder} holds the demo scene '{meta['name']}', not '{scene}': change scene= or dataset.path="
        )
    loaded = blender.load(replace(views.named("demo"), path=str(folder)))
    return replace(loaded, to_world=np.array(meta["to_world"]), truth=folder / "mesh.ply")


def _find_or_make(scene: str, root: Path) -> Path:
    """The scene's folder under ``root``, or in the user's cache folder where ``root`` is read-only."""
    name = f"{scene}-v{VERSION}"
    folders = [base / "demo" / name for base in (root, cache_folder())]
    for folder in folders:
        if is_scene(folder):
            return folder
    try:
        return _made(scene, folders[0])
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        log.info("%s; making it in %s instead", error.strerror, folders[1].parent)
        return _made(scene, folders[1])


def _made(scene: str, folder: Path) -> Path:
    """The folder with the scene, made if need be: in a temporary folder that is renamed when it is complete.

    Two processes may do this at the same time.
    """
    if is_scene(folder):
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(
            f"cannot make the demo scene in {folder}: it holds something else. Set dataset.path= to a new folder, "
            "or to null for the usual place"
        )
    began = time.perf_counter()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{scene}-", dir=folder.parent))
    except OSError as error:
        reason = f"cannot make the demo scene in {folder.parent}: {error.strerror}; set dataset.root="
        raise OSError(error.errno, reason) from error
    log.info("making the demo scene '%s' in %s (once)", scene, folder)
    try:
        write_blender(temporary, make(scene))
        os.chmod(temporary, 0o755)
        try:
            os.rename(temporary, folder)
        except OSError:
            # another process may have made it in the meantime
            if not is_scene(folder):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    log.info("made in %.1f s", time.perf_counter() - began)
    return folder
