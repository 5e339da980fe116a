"""A scene as the loader of another method reads it: images, masks, cameras and splits in one of the known layouts.

The layout's world is our normalised frame: the object lies in [-1, 1]^3 or as far as ``dataset.radius`` says, and its
normalisation, where the layout has one, is the identity. So every method sees coordinates of about one, whatever the
data set's unit is, and a result comes back by the method's own frame (frames.py) and the scene's ``to_world``.

Images are those that our models train on, at the size of ``dataset.downscale``: undistorted, and composited over the
scene's background where the scene is. A method that is given masks has them as alpha in the layout blender, and as
files in the others. Pixel centres are at half integers in all layouts but NeuS'.
"""

import json
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from isosweep.config.method_settings import PrepareSettings
from isosweep.errors import InputError
from isosweep.external import llff_layout
from isosweep.external.points import triangulated
from isosweep.meshes.files import to_bytes
from isosweep.prepare import writers
from isosweep.prepare.reconstruction import Reconstruction
from isosweep.rendering.views import truth_image
from isosweep.runtime import progress
from isosweep.runtime.files import atomic_write_text
from isosweep.types import Scene

DONE = "isosweep_views.json"
"""Written last: which file is which view of the scene."""
EVERY_NTH = ("colmap", "llff")
"""Layouts that cannot name the test views. Their readers hold out every n-th image in the order of names."""
WORKERS = 2
LOST_PX = 0.5
"""A principal point so far off the centre is told where the method does not read it."""
IDENTITY = np.eye(4)
log = logging.getLogger("isosweep")


@dataclass(frozen=True)
class Prepared:
    """What was written."""

    folder: Path
    stems: dict[int, tuple[str, ...]]
    """View of the scene -> the names of its files without ending."""
    test: tuple[int, ...]
    """The views that the method is not to train on."""
    test_every: int
    """Of `EVERY_NTH`: every so many images is a test view; a number above the count of images where none is."""
    width: int
    height: int


def prepare(scene: Scene, settings: PrepareSettings, folder: Path, threads: int = 1) -> Prepared:
    """Write the scene's training views, and its test views where the method is told of them.

    What an earlier start has written whole is taken as it is.

    Raises:
        InputError: the scene has no masks and the method needs them, or its rays are no straight lines in space.
        MissingLibraryError: points have to be triangulated, and pycolmap is not installed.
    """
    if scene.cameras.ndc is not None:
        raise InputError(
            "dataset.ndc=true is projective, which no other method's loader knows: set dataset.ndc=false"
        )
    if settings.masks and not scene.images.has_masks:
        raise InputError(
            f"method.prepare.masks=true, and {scene.dataset} scene {scene.name} has no masks: take a scene with masks, "
            "or set method.prepare.masks=false if the method can do without"
        )
    if scene.sizes is not None:
        raise InputError(
            "dataset.downscale is a list: other methods train on images of one size; give one number"
        )
    train = tuple(scene.splits["train"])
    test = tuple(scene.splits["test"]) if scene.held_out and settings.test_views else ()
    order, every = _order(train, test, settings.layout, settings.test_every)
    names = [f"{place:04d}.png" for place in range(len(order))]
    stems: dict[int, tuple[str, ...]] = {}
    for view, name in zip(order, names, strict=True):
        stems[view] = (*stems.get(view, ()), Path(name).stem)
    hw = scene.cameras.hw[order[0]].tolist()
    made = Prepared(folder, stems, test, every, hw[1], hw[0])
    if (folder / DONE).is_file():
        return made
    recon = _reconstruction(scene, order, names)
    off = float(np.abs(recon.K[:, :2, 2] - recon.hw[:, ::-1] / 2).max())
    if (not settings.principal_point or settings.layout == "llff") and off > LOST_PX:
        log.warning(
            "this method takes the image's centre for the principal point, which is up to %.1f pixels off in this "
            "scene: its results are shifted by as much",
            off,
        )
    _write_images(scene, settings, order, names, folder)
    held = frozenset(place for place, view in enumerate(order) if view in test)
    if settings.points:
        recon = _with_points(scene, recon, folder, held, threads, settings.tracks)
    write = llff_layout.write_llff if settings.layout == "llff" else writers.WRITERS[settings.layout]
    masked = settings.masks and settings.layout != "llff"
    write(folder, recon, IDENTITY, masked, held, WORKERS, lambda: None)
    told = {
        "layout": settings.layout,
        "test_every": every,
        "files": {Path(name).stem: scene.names[view] for view, name in zip(order, names, strict=True)},
        "test": [Path(names[place]).stem for place in sorted(held)],
    }
    if settings.layout == "nerfstudio":
        _add_sphere(folder / "transforms.json", scene.radius)
    atomic_write_text(folder / DONE, json.dumps(told, indent=1))
    return made


def _add_sphere(file: Path, radius: float) -> None:
    """Add what Neuralangelo's reader asks for, and others ignore: no skew, and the sphere that holds the object."""
    told = json.loads(file.read_text())
    for frame in [told, *told["frames"]]:
        if "fl_x" in frame:
            frame |= {"sk_x": 0.0, "sk_y": 0.0}
    told |= {"sphere_center": [0.0, 0.0, 0.0], "sphere_radius": radius}
    atomic_write_text(file, json.dumps(told, indent=1))


def drop_images(folder: Path) -> None:
    """Delete the images of a prepared scene, which a finished run needs no more. Its cameras and names stay."""
    for kind in ("images", "masks", "image", "mask", "train", "test"):
        shutil.rmtree(folder / kind, ignore_errors=True)


def _order(
    train: tuple[int, ...], test: tuple[int, ...], layout: str, fixed: int | None = None
) -> tuple[list[int], int]:
    """The views in the order of their files, and the n of readers that hold out every n-th of them, from the first on.

    Where the test views do not fill their places, the last of them takes the others as well.

    Args:
        fixed: n, where the reader cannot be told.
    """
    if layout not in EVERY_NTH:
        return [*train, *test], 0
    if not test:
        return list(train), 100_000
    every = fixed or 1 + len(train) // len(test)
    places = -(-len(train) // (every - 1)) if every > 1 else 0
    if len(test) > places > 0:
        raise InputError(
            f"this method's reader holds out every {every}th image, so beside {len(train)} training views there is "
            f"room for {places} test views, and the scene has {len(test)}: set dataset.n_test={places}, or "
            "method.prepare.test_views=false for scores of the mesh alone"
        )
    if every < 2:
        raise InputError(
            f"{len(test)} test views and {len(train)} training views: the layout {layout} holds out every n-th "
            "image, which needs at least as many training views as test views: set dataset.n_test"
        )
    order, left, held = [], list(train), list(test)
    while left:
        order.append(held.pop(0) if held else test[-1])
        order += left[: every - 1]
        del left[: every - 1]
    return order, every


def _reconstruction(scene: Scene, order: list[int], names: list[str]) -> Reconstruction:
    """The views with their cameras, in normalised units."""
    cameras = scene.cameras.to("cpu")
    K = cameras.K[order].double().numpy().copy()
    K[:, :2, 2] += 0.5 - cameras.pixel_centre
    hw = cameras.hw[order].numpy().astype(int)
    kinds = [(*K[v].ravel().tolist(), *hw[v].tolist()) for v in range(len(order))]
    camera = np.array([1 + list(dict.fromkeys(kinds)).index(kind) for kind in kinds])
    return Reconstruction(
        names=tuple(names),
        hw=hw,
        K=K,
        c2w=cameras.c2w[order].double().numpy(),
        camera=camera,
        xyz=np.zeros((0, 3)),
        rgb=np.zeros((0, 3), np.uint8),
        error=np.zeros(0),
        seen_view=np.zeros(0, int),
        seen_point=np.zeros(0, int),
        seen_xy=np.zeros((0, 2)),
    )


def _with_points(
    scene: Scene, recon: Reconstruction, folder: Path, held: frozenset[int], threads: int, tracks: bool
) -> Reconstruction:
    """The views with the scene's structure-from-motion points, or with points that are triangulated now.

    Args:
        tracks: which views see a point has to be known, too.
    """
    if tracks or scene.points is None or not len(scene.points):
        train = [place for place in range(len(recon)) if place not in held]
        return triangulated(folder, recon, train, threads)
    xyz = scene.points.double().cpu().numpy()
    grey = np.full((len(xyz), 3), 128, np.uint8)  # a scene's points have no colour
    return replace(recon, xyz=xyz, rgb=grey, error=np.ones(len(xyz)))


def _write_images(
    scene: Scene, settings: PrepareSettings, order: list[int], names: list[str], folder: Path
) -> None:
    """Write images/<name>, and masks/<name>.png where the method has masks."""
    for kind in ("images", "masks") if settings.masks else ("images",):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    straight = settings.masks and settings.layout == "blender"
    for view, name in progress.through(list(zip(order, names, strict=True)), "preparing images"):
        rgb, mask = scene.images.image(view) if straight else truth_image(scene, view)
        Image.fromarray(to_bytes(rgb.numpy())).save(folder / "images" / name, compress_level=1)
        if settings.masks:
            if mask is None:
                raise InputError(
                    f"view {scene.names[view]} of scene {scene.name} has no mask, and the method needs it"
                )
            grey = to_bytes(mask.numpy()[..., None])[..., 0]
            Image.fromarray(grey).save(folder / "masks" / writers.mask_name(name), compress_level=1)
