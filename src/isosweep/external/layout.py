"""A scene as the loader of another method reads it: images, masks, cameras and splits in one of the known layouts.

The layout's world is our normalised frame: the object lies in [-1, 1]^3 or as far as ``dataset.radius`` says, and its
normalisation, where the layout has one, is the identity. So every method sees coordinates of about one, whatever the
data set's unit is, and a result comes back by the method's own frame (frames.py) and the scene's ``to_world``.

Images are those that our models train on, at the size of ``dataset.downscale``: undistorted, and composited over the
scene's background where the scene is. A method that is given masks has them as alpha in the layout blender, and as
files in the others. Pixel centres are at half integers in all layouts but NeuS'.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from isosweep.config.method_settings import PrepareSettings
from isosweep.errors import InputError
from isosweep.external import llff_layout
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
SHARE_WORKERS = 2
IDENTITY = np.eye(4)

Points = Callable[[Scene, tuple[int, ...]], "PointCloud"]


@dataclass(frozen=True)
class PointCloud:
    """Points on the surface, in normalised units, and which view sees which where."""

    xyz: np.ndarray
    rgb: np.ndarray
    error: np.ndarray
    seen_view: np.ndarray
    """Index into the views that were given."""
    seen_point: np.ndarray
    seen_xy: np.ndarray


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


def prepare(scene: Scene, settings: PrepareSettings, folder: Path, points: Points | None = None) -> Prepared:
    """Write the scene's training views, and its test views where the method is told of them.

    What an earlier start has written whole is taken as it is.

    Args:
        points: makes points of a scene's training views, where ``settings.points`` asks for them and the scene has
        none.

    Raises:
        InputError: the scene has no masks and the method needs them, or its rays are no straight lines in space.
    """
    if scene.cameras.ndc is not None:
        raise InputError(
            "dataset.ndc=true is projective, which no other method's loader knows: set dataset.ndc=false"
        )
    if settings.masks and not scene.images.has_masks:
        raise InputError(
            f"method.prepare.masks=true, and {scene.dataset} scene {scene.name} has no masks: take a scene with "
            "masks, or set method.prepare.masks=false if the method can do without"
        )
    if scene.sizes is not None:
        raise InputError(
            "dataset.downscale is a list: other methods train on images of one size; give one number"
        )
    train = tuple(scene.splits["train"])
    test = tuple(scene.splits["test"]) if scene.held_out and settings.test_views else ()
    order, every = _order(train, test, settings.layout)
    names = [f"{place:04d}.png" for place in range(len(order))]
    stems: dict[int, tuple[str, ...]] = {}
    for view, name in zip(order, names, strict=True):
        stems[view] = (*stems.get(view, ()), Path(name).stem)
    hw = scene.cameras.hw[order[0]].tolist()
    made = Prepared(folder, stems, test, every, hw[1], hw[0])
    if (folder / DONE).is_file():
        return made
    cloud = _points(scene, train, order, points) if settings.points else None
    recon = _reconstruction(scene, order, names, cloud)
    _write_images(scene, settings, order, names, folder)
    held = frozenset(place for place, view in enumerate(order) if view in test)
    write = llff_layout.write_llff if settings.layout == "llff" else writers.WRITERS[settings.layout]
    masked = settings.masks and settings.layout != "llff"
    write(folder, recon, IDENTITY, masked, held, SHARE_WORKERS, lambda: None)
    told = {
        "layout": settings.layout,
        "test_every": every,
        "files": {Path(name).stem: scene.names[view] for view, name in zip(order, names, strict=True)},
        "test": [Path(names[place]).stem for place in sorted(held)],
    }
    atomic_write_text(folder / DONE, json.dumps(told, indent=1))
    return made


def drop_images(folder: Path) -> None:
    """Delete the images of a prepared scene, which a finished run needs no more. Its cameras and names stay."""
    for kind in ("images", "masks", "image", "mask", "train", "test"):
        shutil.rmtree(folder / kind, ignore_errors=True)


def _order(train: tuple[int, ...], test: tuple[int, ...], layout: str) -> tuple[list[int], int]:
    """The views in the order of their files, and the n of readers that hold out every n-th of them, from the first on.

    Where the test views do not fill their places, the last of them takes the others as well.
    """
    if layout not in EVERY_NTH:
        return [*train, *test], 0
    if not test:
        return list(train), 100_000
    every = 1 + len(train) // len(test)
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


def _reconstruction(
    scene: Scene, order: list[int], names: list[str], cloud: PointCloud | None
) -> Reconstruction:
    """The views with their cameras, in normalised units."""
    cameras = scene.cameras.to("cpu")
    K = cameras.K[order].double().numpy().copy()
    K[:, :2, 2] += 0.5 - cameras.pixel_centre
    hw = cameras.hw[order].numpy().astype(int)
    kinds = [(*K[v].ravel().tolist(), *hw[v].tolist()) for v in range(len(order))]
    camera = np.array([1 + list(dict.fromkeys(kinds)).index(kind) for kind in kinds])
    nothing = PointCloud(
        np.zeros((0, 3)),
        np.zeros((0, 3), np.uint8),
        np.zeros(0),
        np.zeros(0, int),
        np.zeros(0, int),
        np.zeros((0, 2)),
    )
    found = cloud or nothing
    return Reconstruction(
        names=tuple(names),
        hw=hw,
        K=K,
        c2w=cameras.c2w[order].double().numpy(),
        camera=camera,
        xyz=found.xyz,
        rgb=found.rgb,
        error=found.error,
        seen_view=found.seen_view,
        seen_point=found.seen_point,
        seen_xy=found.seen_xy,
    )


def _points(
    scene: Scene, train: tuple[int, ...], order: list[int], points: Points | None
) -> PointCloud | None:
    """Points for the layout, with views by their place in ``order``."""
    if scene.points is not None and len(scene.points):
        xyz = scene.points.double().cpu().numpy()
        grey = np.full((len(xyz), 3), 128, np.uint8)
        return PointCloud(xyz, grey, np.ones(len(xyz)), np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)))
    if points is None:
        return None
    made = points(scene, train)
    place = np.array([order.index(view) for view in train])
    return PointCloud(made.xyz, made.rgb, made.error, place[made.seen_view], made.seen_point, made.seen_xy)


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
