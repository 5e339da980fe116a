"""Tanks and Temples in the forms in which it is passed round, with the authors' ground truth where it is there.

- images/ and a COLMAP model (GOF's and 2DGS' export): read as dataset=colmap does;
- train/ and test/ with rgb/, pose/ and intrinsics/ (NeRF++'s export): read as dataset=deepvoxels does;
- images/ and <Scene>_COLMAP_SfM.log, the authors' own: poses without intrinsics, so ``focal`` has to be given.

NSVF's export is dataset=nsvf. The ground truth is <Scene>.ply, <Scene>.json and <Scene>_trans.txt beside the images.
Source: Knapitsch et al., Tanks and Temples, 2017; python_toolbox of the authors.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from isosweep.bounds import Number, Positive
from isosweep.data import capture, colmap, normalization, split_folders
from isosweep.data.capture import Photo
from isosweep.data.decode import read_size
from isosweep.data.folders import find_scene
from isosweep.data.image_files import ENDINGS
from isosweep.data.lens import make_lens
from isosweep.data.loading import ViewOptions
from isosweep.data.normalization import FrameChoice
from isosweep.data.pose_text import natural, no_rotation
from isosweep.data.splits import choose, hold_out
from isosweep.errors import InputError
from isosweep.runtime.text_file import read_text
from isosweep.types import Scene

MARKER = "images/ with sparse/ or <Scene>_COLMAP_SfM.log, or train/ with rgb/, pose/ and intrinsics/"
LOG = "*_COLMAP_SfM.log"


def load(
    views: ViewOptions,
    *,
    model: str | None = None,
    images: str | None = None,
    focal: Positive | None = None,
    world_unit: str = "unit",
    centre: str | Sequence[Number] = "auto",
    scale: str | Positive = "auto",
    orientation: str = "auto",
    official: str | None = None,
) -> Scene:
    """Load one scene. ``to_world`` maps to the frame of its poses.

    Args:
        views: ``test_every`` is for scenes without folders of splits.
        model, images: as in `isosweep.data.colmap.load`.
        focal: the focal length in pixels, for the authors' poses; other forms have their own.
        world_unit: the unit of length of the poses.
        centre, scale, orientation: see `isosweep.data.normalization.FrameChoice`.
        official: the folder with the authors' ground truth; None takes the scene's, where it has one.

    Raises:
        FileNotFoundError: the scene, its images or ``official`` are missing.
        ValueError: a file cannot be used, or the focal length is not known; the message says which.
    """
    views, frame = views.named("tanks_and_temples"), FrameChoice(centre, scale, orientation)
    normalization.check_choice(frame)
    folder = find_scene(views, MARKER, is_scene)
    found = replace(views, path=str(folder))
    framed = {"world_unit": world_unit, "centre": centre, "scale": scale, "orientation": orientation}
    if split_folders.is_scene(folder):
        scene = split_folders.load(found, **framed)
    elif colmap.is_scene(folder):
        scene = colmap.load(found, model=model, images=images, **framed)
    else:
        scene = _from_log(found, folder, images, focal, frame, world_unit)
    return replace(scene, official=_official(folder, official))


def is_scene(folder: Path) -> bool:
    """Whether a folder holds a scene in one of the forms."""
    if split_folders.is_scene(folder) or (folder.is_dir() and colmap.is_scene(folder)):
        return True
    return (folder / "images").is_dir() and _log_file(folder) is not None


def _log_file(folder: Path) -> Path | None:
    return min(folder.glob(LOG), default=None)


def _from_log(
    views: ViewOptions,
    folder: Path,
    images: str | None,
    focal: float | None,
    frame: FrameChoice,
    world_unit: str,
) -> Scene:
    file = _log_file(folder)
    assert file is not None, "is_scene found one"
    if focal is None or focal <= 0:
        raise InputError(
            f"{folder} has the authors' poses ({file.name}) and no intrinsics: give dataset.focal= in pixels (about 0.6"
            " to 0.7 of the width), or a COLMAP model in sparse/0: scripts/data.py get tanks_and_temples brings one"
        )
    image_dir = capture.image_folder(folder, images)
    files = sorted((p for p in image_dir.iterdir() if p.suffix.lower() in ENDINGS), key=natural)
    poses = read_log(file)
    if len(files) != len(poses):
        raise InputError(
            f"{file} has {len(poses)} poses, and {image_dir} has {len(files)} images: they belong in order"
        )
    photos = []
    for image, c2w in zip(files, poses, strict=True):
        width, height, _ = read_size(image, file)
        lens = make_lens(
            "SIMPLE_PINHOLE", width, height, (focal, width / 2, height / 2), f"{image} with dataset.focal"
        )
        photos.append(Photo(image.name, image, lens, c2w))
    splits = hold_out(choose([p.name for p in photos], views.image_ids, file), views, file)
    photos = capture.masked(views, folder, photos)
    return capture.build(views, photos, splits, frame, world_unit, file)


def read_log(file: Path) -> list[np.ndarray]:
    """The poses of a trajectory log, OpenCV camera-to-world [3, 4] each: a line of three whole numbers, then 4 rows.

    Raises:
        InputError: the file has another form.
    """
    lines = [line.split() for line in read_text(file, "a trajectory").splitlines() if line.strip()]
    try:
        if not lines or len(lines) % 5:
            raise ValueError(f"{len(lines)} lines are no multiple of 5")
        blocks = [lines[i + 1 : i + 5] for i in range(0, len(lines), 5)]
        poses = np.array(blocks, np.float64)
    except ValueError as error:
        raise InputError(
            f"{file} is no trajectory log ({error}): a line of three numbers, then a 4x4 matrix"
        ) from error
    if poses.shape[1:] != (4, 4) or not np.isfinite(poses).all():
        raise InputError(
            f"{file} has matrices of shape {poses.shape[1:]}, expected finite 4x4: download it again"
        )
    bad = np.flatnonzero(no_rotation(poses[:, :3, :3]))
    if len(bad):
        raise InputError(
            f"{file}: matrix {bad[0]} (line {5 * bad[0] + 1}) holds no rotation in its left part: download it again"
        )
    return list(poses[:, :3])


def _official(folder: Path, given: str | None) -> Path | None:
    """The folder with the ground truth, if there is one."""
    if given is not None:
        if not Path(given).is_dir():
            raise FileNotFoundError(
                f"no folder {given} (dataset.official): give the one with <Scene>_trans.txt, or null"
            )
        return Path(given)
    return folder if any(folder.glob("*_trans.txt")) else None
