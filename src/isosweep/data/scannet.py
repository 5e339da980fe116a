"""ScanNet, as its SensReader exports it: color/, pose/, intrinsic/intrinsic_color.txt, and depth/ where there is one.

Poses are OpenCV camera-to-world in metres, one text a frame; a frame that was lost has -inf in it. The depth images
(uint16, mm, 0 for none) give points, from which the normalised frame is found.
Source: Dai et al., ScanNet, SensReader/python.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from isosweep.bounds import Number, Positive
from isosweep.data import capture, normalization
from isosweep.data.capture import Landmarks, Photo
from isosweep.data.folders import find_scene
from isosweep.data.loading import ViewOptions
from isosweep.data.normalization import FrameChoice
from isosweep.data.pose_text import Intrinsics, is_lost, paired, read_intrinsics, read_pose
from isosweep.data.splits import choose, hold_out
from isosweep.errors import InputError
from isosweep.runtime.image_file import UNREADABLE, open_image
from isosweep.runtime.text_file import read_text
from isosweep.types import Scene

log = logging.getLogger("isosweep")
MARKER = "color/, pose/ and intrinsic/intrinsic_color.txt"
INTRINSICS = ("intrinsic/intrinsic_color.txt", "intrinsic_color.txt", "intrinsics_color.txt")
DEPTH_INTRINSICS = ("intrinsic/intrinsic_depth.txt", "intrinsic_depth.txt")
IMAGES = ("color", "rgb", "images")
VIEWS_OF_DEPTH = 40
"""Depth images that are read, evenly spaced over the views."""
POINTS_OF_VIEW = 500
"""Points that are taken of each, at most."""


def load(
    views: ViewOptions,
    *,
    images: str | None = None,
    calibrated: Sequence[int] | None = None,
    world_unit: str = "m",
    centre: str | list[Number] = "auto",
    scale: str | Positive = "auto",
    orientation: str = "auto",
) -> Scene:
    """Load one scan. Frames without a pose are left out. ``to_world`` maps to ScanNet's frame.

    Args:
        views: ``image_ids='0::10'`` takes every tenth frame.
        images: the folder with the images, below the scene's; None takes color/, rgb/ or images/.
        calibrated: width and height for which the intrinsics were made; None reads them from <scene>.txt, else takes
            the images' size.
        world_unit: the unit of length of the poses.
        centre, scale, orientation: see `isosweep.data.normalization.FrameChoice`; points are those of the depth images.

    Raises:
        FileNotFoundError: the scene, its intrinsics, its images or the ground truth are missing.
        ValueError: a pose, the intrinsics or an image cannot be used; the message names it.
    """
    views, frame = views.named("scannet"), FrameChoice(centre, scale, orientation)
    normalization.check_choice(frame)
    folder = find_scene(views, MARKER, is_scene)
    image_dir = capture.image_folder(folder, images, IMAGES)
    file = _first(folder, INTRINSICS)
    assert file is not None, "find_scene called is_scene"
    intrinsics = replace(read_intrinsics(file), size=_calibrated(folder, calibrated))
    pairs = paired(image_dir, folder / "pose")
    lost = [image.name for image, pose in pairs if is_lost(pose)]
    if len(lost) == len(pairs):
        raise InputError(
            f"none of the {len(pairs)} poses in {folder / 'pose'} is finite: the scan was not tracked"
        )
    if lost:
        log.warning(
            "%d frames of %s have no pose (-inf) and are left out: %s", len(lost), folder, ", ".join(lost[:8])
        )
    photos = [
        Photo(image.name, image, _lens(intrinsics, image, file), read_pose(pose))
        for image, pose in pairs
        if image.name not in set(lost)
    ]
    splits = hold_out(choose([p.name for p in photos], views.image_ids, image_dir), views, image_dir)
    points = depth_points(folder, [photos[i] for i in splits.chosen])
    landmarks = None if points is None else Landmarks(points, None)
    photos = capture.masked(views, folder, photos)
    scene = capture.build(views, photos, splits, frame, world_unit, file, landmarks)
    return replace(scene, truth=scene.truth or _mesh(folder))


def is_scene(folder: Path) -> bool:
    """Whether a folder has poses, images and intrinsics."""
    images = any((folder / name).is_dir() for name in IMAGES)
    return images and (folder / "pose").is_dir() and _first(folder, INTRINSICS) is not None


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _calibrated(folder: Path, given: Sequence[int] | None) -> tuple[int, int] | None:
    """The size for which the intrinsics were made: as given, else colorWidth and colorHeight of <scene>.txt."""
    if given is not None:
        if len(given) != 2 or min(given) < 1:
            raise InputError(f"dataset.calibrated is [width, height] in pixels, found {list(given)}")
        return int(given[0]), int(given[1])
    info = folder / f"{folder.name}.txt"
    if not info.is_file():
        return None
    text = read_text(info, "the size of images")
    found = dict(re.findall(r"^\s*(colorWidth|colorHeight)\s*=\s*([0-9]{1,9})\b", text, re.MULTILINE))
    return (int(found["colorWidth"]), int(found["colorHeight"])) if len(found) == 2 else None


def _lens(intrinsics: Intrinsics, image: Path, file: Path):
    """The lens of an image: both axes are scaled by themselves, because 1296x968 is often reduced to 640x480."""
    lens = intrinsics.lens(image, file)
    if intrinsics.size is None:
        return lens
    x = lens.width / intrinsics.size[0]
    return replace(lens, params=(intrinsics.fx * x, *lens.params[1:]))


def depth_points(folder: Path, photos: Sequence[Photo]) -> Float[np.ndarray, "p 3"] | None:
    """World points of some depth images. None where there are none, or no intrinsics for them.

    Raises:
        InputError: a depth image cannot be read.
    """
    file, depth_dir = _first(folder, DEPTH_INTRINSICS), folder / "depth"
    if file is None or not depth_dir.is_dir():
        return None
    K = read_intrinsics(file)
    pairs = [(p, depth_dir / f"{p.image.stem}.png") for p in photos]
    pairs = [(photo, depth) for photo, depth in pairs if depth.is_file()]
    found = []
    for photo, depth in pairs[:: max(1, len(pairs) // VIEWS_OF_DEPTH)]:
        try:
            with open_image(depth) as image:
                z = np.asarray(image, np.float64) / 1000
        except UNREADABLE as error:
            raise InputError(f"cannot read the depth image {depth} ({error}): export it again") from error
        v, u = np.nonzero(z > 0)
        step = max(1, len(u) // POINTS_OF_VIEW)
        u, v = u[::step], v[::step]
        z = z[v, u]
        # the centre of the first pixel is 0.5
        local = np.stack([(u + 0.5 - K.cx) / K.fx * z, (v + 0.5 - K.cy) / K.fy * z, z], 1)
        found.append(local @ photo.c2w[:, :3].T + photo.c2w[:, 3])
    return np.concatenate(found) if found else None


def _mesh(folder: Path) -> Path | None:
    """The scan's mesh, if it lies beside the images."""
    return _first(folder, (f"{folder.name}_vh_clean_2.ply", f"{folder.name}_vh_clean.ply"))
