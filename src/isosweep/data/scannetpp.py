"""ScanNet++: the DSLR capture of a scene, dslr/colmap with dslr/resized_images, or the undistorted images.

The COLMAP model's frame is that of the scan, in metres. The lens is a fisheye, whose distortion is removed here; for
``resized_undistorted_images`` the pin-hole cameras are those of nerfstudio/transforms_undistorted.json.
train_test_lists.json gives the splits.
Source: Yeshwanth et al., ScanNet++, documentation of the data set.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.bounds import Number, Positive
from isosweep.data import capture, colmap, normalization
from isosweep.data.colmap_model import Registered, ending, read_model
from isosweep.data.decode import IGNORE
from isosweep.data.folders import find_scene
from isosweep.data.lens import Lens, make_lens
from isosweep.data.loading import ViewOptions
from isosweep.data.normalization import FrameChoice
from isosweep.data.split_folders import take_splits
from isosweep.data.splits import Splits, choose, hold_out
from isosweep.errors import InputError
from isosweep.runtime.text_file import read_json
from isosweep.types import Scene

MARKER = "dslr/colmap/ and dslr/resized_images/ or dslr/resized_undistorted_images/"
DISTORTED, STRAIGHT = "resized_images", "resized_undistorted_images"
ANONYMOUS = "resized_anon_masks"
"""Masks beside the images, black where faces and screens were made unrecognisable."""
MESH = "scans/mesh_aligned_0.05.ply"


def load(
    views: ViewOptions,
    *,
    images: str | None = None,
    world_unit: str = "m",
    centre: str | list[Number] = "auto",
    scale: str | Positive = "auto",
    orientation: str = "auto",
) -> Scene:
    """Load one scene. ``to_world`` maps to the frame of the scan.

    Args:
        views: ``image_ids`` takes training views; ``test_every`` is for scenes without train_test_lists.json.
        images: resized_images (fisheye) or resized_undistorted_images; None takes the first that is there.
        world_unit: the unit of length of the scan.
        centre, scale, orientation: see `isosweep.data.normalization.FrameChoice`.

    Raises:
        FileNotFoundError: the scene, its model, its images or the ground truth are missing.
        ValueError: a file of the model, a split or an image cannot be used; the message names it.
    """
    views, frame = views.named("scannetpp"), FrameChoice(centre, scale, orientation)
    normalization.check_choice(frame)
    scene = find_scene(views, MARKER, is_scene)
    dslr = scene / "dslr" if (scene / "dslr").is_dir() else scene
    image_dir = capture.image_folder(dslr, images, (DISTORTED, STRAIGHT))
    model = read_model(dslr / "colmap")
    listed = dslr / "colmap" / f"images{ending(dslr / 'colmap')}"
    there = [
        (one, file) for one in model.images if (file := colmap.image_file(image_dir, one.name)) is not None
    ]
    if not there:
        raise FileNotFoundError(
            f"none of the {len(model.images)} images that {listed} names is in {image_dir}"
        )
    straight = _pinhole(dslr) if "undistorted" in image_dir.name else None
    photos = [
        capture.Photo(one.name, file, straight or model.cameras[one.camera_id], _pose(one))
        for one, file in there
    ]
    splits = _splits([photo.name for photo in photos], dslr / "train_test_lists.json", views, listed)
    points = colmap.landmarks(model, [one for one, _ in there])
    anonymous = dslr / ANONYMOUS
    photos = capture.masked(views, dslr, photos, anonymous if anonymous.is_dir() else None, IGNORE)
    built = capture.build(views, photos, splits, frame, world_unit, listed, points)
    mesh = dslr.parent / MESH
    return replace(built, truth=built.truth or (mesh if mesh.is_file() else None))


def is_scene(folder: Path) -> bool:
    """Whether a folder, or its dslr/, has a COLMAP model and images of ScanNet++'s names."""
    for base in (folder / "dslr", folder):
        images = any((base / name).is_dir() for name in (DISTORTED, STRAIGHT))
        if images and (base / "colmap").is_dir() and ending(base / "colmap") is not None:
            return True
    return False


def _pose(image: Registered) -> np.ndarray:
    """Camera-to-world [3, 4] of a registered image."""
    R, t = image.w2c[:, :3], image.w2c[:, 3]
    return np.concatenate([R.T, (-R.T @ t)[:, None]], 1)


def _pinhole(dslr: Path) -> Lens:
    """The camera of the undistorted images.

    Raises:
        FileNotFoundError: its json is missing.
        InputError: it lacks a value.
    """
    file = dslr / "nerfstudio" / "transforms_undistorted.json"
    meta = _read(file)
    try:
        w, h, *params = (float(meta[key]) for key in ("w", "h", "fl_x", "fl_y", "cx", "cy"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{file} lacks a number among w, h, fl_x, fl_y, cx, cy ({error!r}): export it again"
        ) from error
    return make_lens("PINHOLE", round(w), round(h), tuple(params), str(file))


def _splits(names: list[str], file: Path, views: ViewOptions, source: Path) -> Splits:
    """The splits of train_test_lists.json; without it, those of ``test_every``."""
    if not file.is_file():
        return hold_out(choose(names, views.image_ids, source), views, source)
    lists = _read(file)
    for split in ("train", "test"):
        given = lists.get(split, [])
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            raise InputError(f"{file}: '{split}' is no list of names: download it again")
    place = {name: i for i, name in enumerate(names)}
    groups = {split: [place[n] for n in lists.get(split, []) if n in place] for split in ("train", "test")}
    if not groups["train"]:
        raise InputError(f"{file}: none of its training images is in {source}: it belongs to another scene")
    return take_splits(names, groups, views, file)


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"no {file}: download it with the scene")
    found = read_json(file, "the splits")
    if not isinstance(found, dict):
        raise InputError(f"{file} holds no mapping: download it again")
    return found
