"""The json files that list a scene's images: transforms.json, or transforms_{train,val,test}.json.

NeRF-synthetic, nerfstudio, Instant-NGP, ScanNet++ and BlenderNeRF write them, and nerfstudio makes them of captures of
Polycam and Record3D. They agree in 'frames', each with file_path and transform_matrix, and differ in what else they
say: data/transforms_camera.py reads the cameras, data/transforms_splits.py the splits.

Poses are OpenGL camera-to-world (x right, y up, z backward) in the json's coordinates.
Source: Mildenhall et al., NeRF, load_blender.py; nerfstudio's data conventions, nerfstudio_dataparser.py and
scannetpp_dataparser.py; instant-ngp, src/nerf_loader.cu.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from isosweep.data.numbers import as_numbers, short
from isosweep.data.problems import Problems
from isosweep.errors import InputError
from isosweep.geometry import similarity_scale
from isosweep.runtime.limits import FRAMES
from isosweep.runtime.progress import through
from isosweep.runtime.text_file import json_of, read_small

log = logging.getLogger("isosweep")
_T = TypeVar("_T")
MANY = 10_000
"""Frames from which on a run tells how far it has read them."""
_BYTES = 1024
"""Of a frame in a json, at most on average; usual ones have 400."""
_EYE, _LAST = np.eye(3), np.array([0.0, 0, 0, 1])
SPLITS = ("train", "val", "test")
Json = dict[str, Any]
"""A transforms json, or one of its frames."""
_MATRICES = ("transform_matrix", "transform_matrix_start", "transform_matrix_end")


@dataclass(frozen=True)
class Entry:
    """One image that a json lists."""

    frame: Json
    """The image's own values."""
    meta: Json
    """The whole json; its values hold for all frames that have none of their own."""
    file: Path
    """The json."""
    split: str
    """'train', 'val' or 'test' where the name of the json or of the list says it; else ''."""
    listed_as: str = "frames"
    """The list of the json that has the image: 'frames' or 'test_frames'."""

    @property
    def given(self) -> str:
        """file_path as it is written."""
        return self.frame["file_path"]

    @property
    def path(self) -> str:
        """file_path with forward slashes and without './' in front."""
        return plain(self.given)

    @property
    def place(self) -> str:
        """Where the image is listed, in words."""
        return str(self.file) if self.listed_as == "frames" else f"{self.listed_as} of {self.file}"

    def source(self, key: str) -> Json | None:
        """The frame if it has a value under ``key``, else the json if it has one. None and null are no values."""
        return next((s for s in (self.frame, self.meta) if s.get(key) is not None), None)

    def get(self, key: str) -> Any:
        """The value under ``key`` of the frame, else of its json; None where neither has one."""
        found = self.source(key)
        return None if found is None else found[key]


def plain(file_path: str) -> str:
    """A path with forward slashes and without './' in front."""
    return file_path.replace("\\", "/").removeprefix("./")


def through_many(items: Sequence[_T], what: str) -> Iterable[_T]:
    """The items, telling how far it is where there are many."""
    return through(items, what) if len(items) > MANY else items


def is_path(file_path: str) -> bool:
    """Whether a text can be the path of a file: it has a name, which is none of '.' and '..', and no zero byte."""
    name = plain(file_path).rstrip().rpartition("/")[2]
    return name not in ("", ".", "..") and "\0" not in file_path and len(file_path) < 4096


def split_files(folder: Path) -> list[Path]:
    """The files transforms_{train,val,test}.json of a folder."""
    return [f for split in SPLITS if (f := folder / f"transforms_{split}.json").is_file()]


def read_entries(files: Sequence[Path]) -> list[Entry]:
    """The images that some jsons list, in their order.

    Raises:
        InputError: a file is no json (of UTF-8, with or without byte order mark), has no list 'frames', or a frame has
            no file_path; one file lists an image twice.
    """
    problems, entries = Problems(), []
    for file in files:
        meta = _read(file)
        split = file.stem.removeprefix("transforms").removeprefix("_")
        entries += [Entry(frame, meta, file, split) for frame in meta["frames"]]
        # ScanNet++ lists its held-out images beside the others
        entries += [
            Entry(frame, meta, file, "test", "test_frames") for frame in meta.get("test_frames") or ()
        ]
    for entry in entries:
        path = entry.frame.get("file_path")
        if not isinstance(path, str):
            has = ", ".join(entry.frame)[:200] or "nothing"
            problems.add(f"{entry.place}: a frame has no file_path (it has {has}): export it again")
        elif not is_path(path):
            problems.add(f"{entry.place}: file_path {short(path)} is no path of an image: export it again")
    problems.check()
    for file in files:
        refuse_twice([e for e in entries if e.file is file])
    return entries


def refuse_twice(entries: Sequence[Entry]) -> None:
    """Raise InputError if two entries have one file_path: the image may be trained on and scored."""
    problems, seen = Problems(), {}
    for entry in entries:
        other = seen.setdefault(entry.path, entry)
        if other is not entry:
            problems.add(f"{entry.place} lists {entry.path} twice (also in {other.place}): export it again")
    problems.check()


def _read(file: Path) -> Json:
    data = _bounded(file)
    try:
        meta = json_of(data)
        del data
        for key in ("frames", "test_frames"):
            frames = meta["frames"] if key == "frames" else meta.get(key) or []
            if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
                raise TypeError(f"{key} is no list of mappings")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file} is no transforms json with 'frames' ({type(error).__name__}: {error}): export it again"
        ) from error
    count = len(meta["frames"]) + len(meta.get("test_frames") or ())
    if count > FRAMES.value:
        raise InputError(_too_many(file, f"lists {count} frames", count))
    if count > MANY:
        log.info("%s lists %d frames", file, count)
    if not meta["frames"]:
        raise InputError(f"{file} lists no frames: export it again, or remove the file")
    return meta


def _bounded(file: Path) -> bytes:
    """The bytes of a json. One with too many frames is refused before it is parsed, which takes ten times its size.

    Raises:
        InputError: it has more than `isosweep.runtime.limits.FRAMES` frames, or more than `_BYTES` for each of these.
    """
    size = file.stat().st_size
    if size > FRAMES.value * _BYTES:
        raise InputError(_too_many(file, f"has {size} bytes", size / _BYTES))
    data = read_small(file, "frames", FRAMES.value * _BYTES)
    count = data.count(b'"file_path"')
    if count > FRAMES.value:
        raise InputError(_too_many(file, f"lists {count} frames", count))
    return data


def _too_many(file: Path, what: str, frames: float) -> str:
    return (
        f"{file} {what}, and at most {FRAMES.value} frames of {_BYTES} bytes are read: write a json with fewer of them "
        f"(every n-th), or, if the memory is there, {FRAMES.raised(frames)}"
    )


def read_pose(entry: Entry, problems: Problems) -> Float[np.ndarray, "3 4"]:
    """The pose of an image: OpenGL camera-to-world in the json's units; zeros where it cannot be used.

    Instant-NGP's transform_matrix_start and transform_matrix_end have to be one pose: what a moving shutter saw is no
    picture of a pin-hole camera.
    """
    found = {}
    for key in _MATRICES:
        if entry.frame.get(key) is not None or (key == _MATRICES[0] and _MATRICES[1] not in entry.frame):
            found[key] = _matrix(entry, key, problems)
    poses = [pose for pose in found.values() if pose is not None]
    if len(poses) < len(found):
        return np.zeros((3, 4))
    if any(np.abs(pose - poses[0]).max() > 1e-6 * max(1.0, np.abs(poses[0]).max()) for pose in poses):
        problems.add(
            f"{entry.file}: {', '.join(found)} of {entry.given} differ: the camera moved during the exposure (a "
            "rolling shutter), which no pin-hole camera shows. Correct the images and give one transform_matrix, or "
            "leave such frames out",
            about=(entry.file, _MATRICES[2]),
        )
    return poses[0]


def _matrix(entry: Entry, key: str, problems: Problems) -> np.ndarray | None:
    """One of a frame's matrices [3, 4]; None where it cannot be used."""
    try:
        matrix = as_numbers(entry.frame[key])
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        problems.add(f"{entry.file}: {entry.given} has no 4x4 {key} ({error!r})")
        return None
    what = f"{entry.file}: the {key} of {entry.given}"
    if matrix.shape not in ((4, 4), (3, 4)) or not np.isfinite(matrix).all():
        problems.add(
            f"{what} is no finite 4x4 matrix (shape {matrix.shape}): remove that frame or export its pose again"
        )
        return None
    rotation = matrix[:3, :3]
    # np.allclose and np.linalg.det are slow, and there may be 100,000 frames
    handed = rotation[0] @ _cross(rotation[1], rotation[2])
    if not (np.abs(rotation @ rotation.T - _EYE) <= 1e-2 + 1e-5 * _EYE).all() or handed < 0:
        problems.add(
            f"{what} holds no rotation (axis lengths {np.linalg.norm(rotation, axis=0).round(3).tolist()}): normalise "
            "it, the scale belongs to the scene"
        )
        return None
    if len(matrix) == 4 and not (np.abs(matrix[3] - _LAST) <= 1e-6 + 1e-5 * _LAST).all():
        problems.add(
            f"{what} has the last row {matrix[3].tolist()}, expected 0, 0, 0, 1: was it written column by column? "
            "Transpose it"
        )
        return None
    return matrix[:3]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def json_to_user(entries: Sequence[Entry]) -> Float[np.ndarray, "4 4"]:
    """The similarity from the jsons' coordinates to the user's: the inverse of applied_transform.

    Raises:
        InputError: applied_transform is no 3x4 or 4x4 similarity, applied_scale is no number, or two jsons differ in
            them.
    """
    first, maps = entries[0], {entry.file: entry.meta for entry in entries}
    matrix = _applied(first.meta, first.file)
    for file, meta in maps.items():
        if not np.allclose(_applied(meta, file), matrix, rtol=0, atol=1e-9 * np.abs(matrix).max()):
            raise InputError(
                f"{first.file} and {file} have another applied_transform or applied_scale, so their poses are in two "
                "frames: export both from one run"
            )
    return np.linalg.inv(matrix)


def _applied(meta: Json, file: Path) -> np.ndarray:
    matrix = np.eye(4)
    try:
        given = as_numbers(meta.get("applied_transform", matrix[:3].tolist()))
        factor = float(as_numbers(meta.get("applied_scale", 1.0)))
        if given.shape not in ((3, 4), (4, 4)):
            raise InputError(f"found shape {given.shape}")
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{file}: applied_transform is a 3x4 matrix and applied_scale a number ({error})"
        ) from error
    matrix[:3] = factor * given[:3]
    try:
        similarity_scale(matrix)
    except ValueError as error:
        raise InputError(f"{file}: applied_transform and applied_scale: {error}") from error
    return matrix


def unit_cube(meta: Json, to_user: np.ndarray, unit: str, file: Path) -> tuple[np.ndarray, str] | None:
    """``to_world`` with Instant-NGP's unit cube as the box, and the world unit; None without Instant-NGP's keys.

    Instant-NGP maps a point of the json to point * scale + offset, and its unit cube is [0, 1]^3.

    Raises:
        InputError: aabb, scale or offset is none.
    """
    if not any(key in meta for key in ("aabb_scale", "aabb", "scale", "offset")):
        return None
    try:
        if "aabb" in meta:  # Instant-NGP then ignores scale and offset and puts this box into its cube
            low, high = as_numbers(meta["aabb"])
            factor = float(1 / (high - low).max())
            offset = 0.5 - 0.5 * (low + high) * factor
        else:
            factor = float(as_numbers(meta.get("scale", 0.33)))
            offset = as_numbers(meta.get("offset", 0.5))
            offset = np.full(3, offset) if offset.ndim == 0 else offset
        if (
            offset.shape != (3,)
            or not np.isfinite(offset).all()
            or not (math.isfinite(factor) and factor > 0)
        ):
            raise InputError(
                f"aabb {short(meta.get('aabb'))}, scale {short(meta.get('scale'))}, offset {short(meta.get('offset'))}"
            )
    except (TypeError, ValueError, ZeroDivisionError, OverflowError, FloatingPointError) as error:
        raise InputError(
            f"{file}: aabb is two corners, scale a positive number, and offset a number or three ({error})"
        ) from error
    cube = np.eye(4)
    cube[:3, :3] *= 0.5 / factor
    cube[:3, 3] = (0.5 - offset) / factor
    return to_user @ cube, unit
