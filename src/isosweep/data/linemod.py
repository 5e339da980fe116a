"""LINEMOD as NeRF's code reads it: transforms_{train,val,test}.json whose frames have an ``intrinsic_matrix``.

Poses are OpenGL camera-to-world, as in NeRF-synthetic. ``file_path`` names the image with its ending, from the scene's
folder or from the folder in which the json was written.
Source: yenchenlin/nerf-pytorch, load_LINEMOD.py.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from isosweep.bounds import Number, Positive
from isosweep.data import capture, normalization
from isosweep.data.capture import Photo
from isosweep.data.decode import read_size
from isosweep.data.folders import find_scene
from isosweep.data.lens import make_lens
from isosweep.data.loading import ViewOptions
from isosweep.data.normalization import FrameChoice
from isosweep.data.numbers import as_numbers
from isosweep.data.problems import Problems
from isosweep.data.split_folders import take_splits
from isosweep.data.transforms import Entry, read_entries, read_pose
from isosweep.errors import InputError
from isosweep.geometry import opengl_to_opencv
from isosweep.types import Scene

MARKER = "transforms_train.json whose frames have an intrinsic_matrix"


def load(
    views: ViewOptions,
    *,
    world_unit: str = "unit",
    centre: str | list[Number] = "auto",
    scale: str | Positive = "auto",
    orientation: str = "auto",
) -> Scene:
    """Load one object. ``to_world`` maps to the frame of the json.

    Args:
        views: ``image_ids`` takes training views; the background 'auto' is white behind masks.
        world_unit: the unit of length of the poses.
        centre, scale, orientation: see `isosweep.data.normalization.FrameChoice`.

    Raises:
        FileNotFoundError: there is no such scene, or an image that a json lists is missing.
        ValueError: a json, pose, matrix or image cannot be used; the message names it.
    """
    views, frame = views.named("linemod"), FrameChoice(centre, scale, orientation)
    normalization.check_choice(frame)
    folder = find_scene(views, MARKER, is_scene)
    photos: list[Photo] = []
    groups: dict[str, list[int]] = {}
    problems = Problems()
    for split in ("train", "val", "test"):
        file = folder / f"transforms_{split}.json"
        entries = read_entries([file]) if file.is_file() else []
        groups[split] = list(range(len(photos), len(photos) + len(entries)))
        photos += [_photo(folder, split, entry, problems) for entry in entries]
    problems.check()
    source = folder / "transforms_train.json"
    splits = take_splits([photo.name for photo in photos], groups, views, source)
    photos = capture.masked(views, folder, photos)
    return capture.build(views, photos, splits, frame, world_unit, source)


def is_scene(folder: Path) -> bool:
    """Whether a folder has a transforms_train.json with an intrinsic_matrix."""
    file = folder / "transforms_train.json"
    return file.is_file() and _mentions(file, b'"intrinsic_matrix"')


def _mentions(file: Path, word: bytes) -> bool:
    """Whether a word is in the first megabyte of a file."""
    with file.open("rb") as opened:
        return word in opened.read(1 << 20)


def _photo(folder: Path, split: str, entry: Entry, problems: Problems) -> Photo:
    frame, file = entry.frame, entry.file
    image = _image(folder, entry)
    width, height, _ = read_size(image, file)
    try:
        K = as_numbers(frame["intrinsic_matrix"])
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{file}: {frame['file_path']} has no 3x3 intrinsic_matrix ({error!r})") from error
    if (
        K.shape != (3, 3)
        or not np.isfinite(K).all()
        or min(K[0, 0], K[1, 1]) <= 0
        or abs(K[0, 1]) > 1e-3 * K[0, 0]
    ):
        raise InputError(
            f"{file}: the intrinsic_matrix of {frame['file_path']} is no finite 3x3 matrix with positive focal lengths "
            f"and without skew (shape {K.shape}): export it again"
        )
    params = (K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    lens = make_lens("PINHOLE", width, height, params, f"{file} ({image.name})")
    return Photo(f"{split}/{image.name}", image, lens, opengl_to_opencv(read_pose(entry, problems)))


def _image(folder: Path, entry: Entry) -> Path:
    """The image of a frame: by its path from the scene's folder, else by the end of that path."""
    parts = PurePosixPath(entry.path).parts
    for start in range(len(parts)):
        candidate = folder.joinpath(*(part for part in parts[start:] if part != "/"))
        if ".." not in candidate.parts and candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"{entry.file} lists {entry.given}, and no end of that path is a file below {folder}: copy the images"
    )
