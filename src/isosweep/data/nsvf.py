"""NSVF: rgb/, pose/ and intrinsics.txt; names begin with 0_ (training), 1_ (validation) or 2_ (test); bbox.txt.

NSVF's own scenes, NeRF-synthetic, BlendedMVS and Tanks and Temples come so. Where no name begins with 2_ (the latter
two), 1_ is the test split. The first pixel's centre is 0.5, as in the programs that rendered or calibrated the images.
Source: Liu et al., Neural Sparse Voxel Fields, README; the splits as in TensoRF and Plenoxels.
"""

from pathlib import Path

import numpy as np

from isosweep.bounds import Number, Positive
from isosweep.data import capture, normalization
from isosweep.data.capture import Photo
from isosweep.data.folders import find_scene
from isosweep.data.loading import ViewOptions
from isosweep.data.normalization import FrameChoice
from isosweep.data.pose_text import paired, read_box, read_intrinsics, read_pose
from isosweep.data.split_folders import take_splits
from isosweep.data.splits import Splits, choose, hold_out
from isosweep.types import Scene

MARKER = "rgb/, pose/ and intrinsics.txt"


def load(
    views: ViewOptions,
    *,
    images: str | None = None,
    world_unit: str = "unit",
    centre: str | list[Number] = "auto",
    scale: str | Positive = "auto",
    orientation: str = "auto",
) -> Scene:
    """Load one scene. ``to_world`` maps to the frame of the poses.

    The box of bbox.txt becomes the scene's box, with the axes of the poses, unless ``centre``, ``scale`` or
    ``orientation`` say otherwise.

    Args:
        views: ``image_ids`` takes training views; ``test_every`` and ``val_every`` are for scenes without prefixes.
        images: the folder with the images, below the scene's; None takes rgb/.
        world_unit: the unit of length of the poses.
        centre, scale, orientation: see `isosweep.data.normalization.FrameChoice`.

    Raises:
        FileNotFoundError: the scene, its intrinsics, its images or the ground truth are missing.
        ValueError: a pose, the intrinsics, the box or an image cannot be used; the message names it.
    """
    views, frame = views.named("nsvf"), FrameChoice(centre, scale, orientation)
    normalization.check_choice(frame)
    folder = find_scene(views, MARKER, is_scene)
    image_dir = folder / (images or "rgb")
    if not image_dir.is_dir():
        there = ", ".join(sorted(p.name for p in folder.iterdir() if p.is_dir()))
        raise FileNotFoundError(
            f"no folder {images} in {folder}; it has {there}: set dataset.images= to one of them"
        )
    file = folder / "intrinsics.txt"
    intrinsics = read_intrinsics(file)
    inverse = intrinsics.world_to_camera
    photos = [
        Photo(image.name, image, intrinsics.lens(image, file), read_pose(pose, world_to_camera=inverse))
        for image, pose in paired(image_dir, folder / "pose")
    ]
    splits = _splits([photo.name for photo in photos], views, image_dir)
    box = folder / "bbox.txt"
    known = (box_frame(*read_box(box), views.radius), world_unit) if box.is_file() else None
    photos = capture.masked(views, folder, photos)
    return capture.build(views, photos, splits, frame, world_unit, file, known=known)


def is_scene(folder: Path) -> bool:
    """Whether a folder has rgb/, pose/ and intrinsics.txt."""
    return (folder / "rgb").is_dir() and (folder / "pose").is_dir() and (folder / "intrinsics.txt").is_file()


def _splits(names: list[str], views: ViewOptions, source: Path) -> Splits:
    """The splits that the names' prefixes give; where no name has one, those of ``test_every``."""
    prefixes = [name[:2] if name[:1].isdecimal() and name[1:2] == "_" else "" for name in names]
    if not set(prefixes) <= {"0_", "1_", "2_"} or "0_" not in prefixes:
        return hold_out(choose(names, views.image_ids, source), views, source)
    by_prefix = {p: [i for i, given in enumerate(prefixes) if given == p] for p in ("0_", "1_", "2_")}
    train, val, test = by_prefix["0_"], by_prefix["1_"], by_prefix["2_"]
    if not test:
        val, test = [], val
    return take_splits(names, {"train": train, "val": val, "test": test}, views, source)


def box_frame(low: np.ndarray, high: np.ndarray, radius: float) -> np.ndarray:
    """``to_world`` [4, 4] that puts a box of the world into [-radius, radius]^3, with the world's axes."""
    to_world = np.eye(4)
    to_world[:3, :3] *= float((high - low).max()) / 2 / radius
    to_world[:3, 3] = (low + high) / 2
    return to_world
