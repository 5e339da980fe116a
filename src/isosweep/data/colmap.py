"""COLMAP reconstructions: photographs and a sparse model with cameras of any kind, poses and points."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from isosweep.bounds import Number, Positive
from isosweep.data import capture, normalization
from isosweep.data.capture import Landmarks, Photo
from isosweep.data.colmap_model import Registered, SparseModel, read_model
from isosweep.data.colmap_places import ending, find_model, n_registered, other_models
from isosweep.data.folders import find_scene
from isosweep.data.image_files import ENDINGS
from isosweep.data.loading import ViewOptions
from isosweep.data.mask_choice import is_dynamic_mask
from isosweep.data.normalization import FrameChoice
from isosweep.data.splits import choose, hold_out
from isosweep.types import Scene

log = logging.getLogger("isosweep")
MARKER = "images/ and sparse/0/ (cameras, images and points3D as .bin or .txt)"
MIN_TRACK = 3
"""Number of views that see a trusted point, at least."""
MAX_ERROR = 2.0
"""Mean reprojection error of a trusted point, at most; pixels."""


def load(
    views: ViewOptions,
    *,
    model: str | None = None,
    images: str | None = None,
    world_unit: str = "unit",
    centre: str | Sequence[Number] = "auto",
    scale: str | Positive = "auto",
    orientation: str = "auto",
) -> Scene:
    """Load one reconstruction: the registered images, in order of their names.

    Distortion is removed from images and masks (data/undistort.py). Registered images without a file are left
    out with a warning. ``to_world`` maps to COLMAP's own frame. It is read from isosweep.json in the scene's
    folder (docs/data.md) if that exists, else found as ``centre``, ``scale`` and ``orientation`` say.

    Args:
        views: the background 'auto' is white behind masks.
        model: the folder with the sparse model, below the scene's; None searches as `find_model` does.
        images: the folder with the images, below the scene's (images_4); None takes images/.
        world_unit: the unit of length of the reconstruction.
        centre, scale, orientation: see `isosweep.data.normalization.FrameChoice`.

    Raises:
        FileNotFoundError: the scene, the model or all images are missing.
        ValueError: a file of the model or an image cannot be used; the message names it.
    """
    views, frame = views.named("colmap"), FrameChoice(centre, scale, orientation)
    normalization.check_choice(frame)
    folder = find_scene(views, MARKER, is_scene)
    sparse = _model_folder(folder, model)
    found = read_model(sparse)
    listed = sparse / f"images{ending(sparse)}"
    image_dir = capture.image_folder(folder, images)
    registered = _with_files(found.images, image_dir, listed)
    photos = [_photo(image, file, found) for image, file in registered]
    names = [photo.name for photo in photos]
    photos = capture.with_masks(photos, capture.masks_beside(views, folder, image_dir, photos))
    splits = hold_out(choose(names, views.image_ids, listed), views, listed)
    points = landmarks(found, [image for image, _ in registered])
    known = normalization.read_extension_file(folder)
    return capture.build(views, photos, splits, frame, world_unit, listed, points, known)


def is_scene(folder: Path) -> bool:
    """Whether a folder has a sparse model and a folder of images."""
    return find_model(folder) is not None and any(
        p.is_dir() and p.name.startswith("image") for p in folder.iterdir()
    )


def _model_folder(scene: Path, model: str | None) -> Path:
    if model is None:
        found = find_model(scene)
        assert found is not None, "find_scene called is_scene"
        if others := other_models(found, scene):
            every = ", ".join(
                f"{path.relative_to(scene)} ({n_registered(path)} images)"
                for path in sorted([found, *others])
            )
            log.info(
                "%s has %d models, %s: taking the largest, %s; dataset.model= takes another",
                scene, 1 + len(others), every, found.relative_to(scene),
            )  # fmt: skip
        return found
    if ending(scene / model) is None:
        raise FileNotFoundError(
            f"no COLMAP model in {scene / model} (dataset.model={model}): expected cameras, images and points3D, all "
            ".bin or all .txt; null looks in sparse/0, sparse/ and sparse/*"
        )
    return scene / model


def _with_files(images: Sequence[Registered], image_dir: Path, listed: Path) -> list[tuple[Registered, Path]]:
    """The registered images that have a file, each with its file."""
    pairs = [(image, image_file(image_dir, image.name)) for image in images]
    present = [(image, file) for image, file in pairs if file is not None]
    absent = [image.name for image, file in pairs if file is None]
    if not present:
        some = sorted(p.name for p in image_dir.iterdir())[:5]
        raise FileNotFoundError(
            f"none of the {len(images)} images that {listed} names ({', '.join(absent[:3])} ...) is in "
            f"{image_dir}, which has {', '.join(some) or 'no file'}: set dataset.images= to their folder"
        )
    if absent:
        log.warning(
            "%d of the %d images that %s names are not in %s and are left out: %s",
            len(absent), len(images), listed, image_dir, ", ".join(absent[:8]) + (" ..." if len(absent) > 8 else ""),
        )  # fmt: skip
    used = {file for _, file in present}
    extra = [
        p.name
        for p in sorted(image_dir.rglob("*"))
        if p.suffix.lower() in ENDINGS and p not in used and not is_dynamic_mask(p)
    ]
    if extra:
        log.info(
            "%d images in %s are not registered in the model: %s", len(extra), image_dir, ", ".join(extra[:8])
        )
    return present


def image_file(folder: Path, name: str) -> Path | None:
    """The file of a registered image; it may have another ending than ``name`` (images_4 is often .png).

    None where there is none, and for a ``name`` that leads out of the folder.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        return None
    return path if path.is_file() else capture.same_stem(path)


def _photo(image: Registered, file: Path, found: SparseModel) -> Photo:
    R, t = image.w2c[:, :3], image.w2c[:, 3]
    c2w = np.concatenate([R.T, (-R.T @ t)[:, None]], 1)
    return Photo(image.name, file, found.cameras[image.camera_id], c2w)


def landmarks(found: SparseModel, images: Sequence[Registered]) -> Landmarks:
    """The trusted points of a model (see `MIN_TRACK`, `MAX_ERROR`), and which of them each of ``images`` sees.

    All points are taken where fewer than 20 are trusted, as in a model of two views.
    """
    points = found.points
    good = (points.n_views >= MIN_TRACK) & (points.error <= MAX_ERROR)
    if good.sum() < 20:
        good = np.ones(len(points), bool)
    ids = points.ids[good]
    order = np.argsort(ids)
    seen = []
    for image in images:
        wanted = np.unique(image.point_ids[image.point_ids >= 0])
        place = np.searchsorted(ids, wanted, sorter=order).clip(max=max(len(ids) - 1, 0))
        rows = order[place] if len(ids) else np.zeros(0, np.int64)
        seen.append(rows[ids[rows] == wanted] if len(ids) else rows)
    return Landmarks(points.xyz[good], seen)
