"""Reads COLMAP's sparse models, binary and text, of any version, with numpy alone.

A model is a folder with cameras, images and points3D as .bin or .txt files. Versions since 3.12 also write rigs and
frames (.bin or .txt), which are not read: the file of images still has the pose of every registered image.
A number of records in a file is compared with the bytes that are left before memory is allocated for them.

Axes: C cameras, V images, P points, O observations.
Frames: poses are world to OpenCV camera; pixels as in data/lens.py.
Source: colmap/scene/reconstruction_io_{binary,text}.cc.
"""

import itertools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int, UInt8

from isosweep.data.colmap_places import PARTS, ending, is_image_line
from isosweep.data.lens import MODELS, NAMES, UNSUPPORTED_IDS, Lens, make_lens
from isosweep.errors import InputError

_T = TypeVar("_T")


@dataclass(frozen=True)
class Registered:
    """One registered image: its pose, and its features."""

    id: int
    name: str
    camera_id: int
    w2c: Float[np.ndarray, "3 4"]
    """World to OpenCV camera."""
    xy: Float[np.ndarray, "o 2"]
    """Positions of the features, pixels."""
    point_ids: Int[np.ndarray, " o"]
    """The id of the point that each feature observes; -1 for none."""


@dataclass(frozen=True)
class Points:
    """The triangulated points; ``xyz`` is in world units."""

    ids: Int[np.ndarray, " p"]
    xyz: Float[np.ndarray, "p 3"]
    rgb: UInt8[np.ndarray, "p 3"]
    error: Float[np.ndarray, " p"]
    """Mean reprojection error in pixels; -1 where COLMAP did not compute it."""
    n_views: Int[np.ndarray, " p"]
    """Length of the track: the number of features that observe the point."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class SparseModel:
    """One COLMAP reconstruction. ``cameras`` are by id, ``images`` in order of their names."""

    folder: Path
    cameras: dict[int, Lens]
    images: tuple[Registered, ...]
    points: Points


def read_model(folder: Path) -> SparseModel:
    """Read the model in a folder.

    Raises:
        FileNotFoundError: the folder does not have all three files.
        ValueError: a file is damaged or truncated, or has values that no camera, pose or point can have.
    """
    suffix = ending(folder)
    if suffix is None:
        found = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        raise FileNotFoundError(
            f"no COLMAP model in {folder}: expected cameras, images and points3D, all .bin or all .txt; found "
            f"{', '.join(found[:10]) or 'nothing'}"
        )
    files = [folder / f"{part}{suffix}" for part in PARTS]
    if suffix == ".bin":
        cameras = _parsed(files[0], lambda f: binary_cameras(f.read_bytes(), f))
        images = _parsed(files[1], lambda f: binary_images(f.read_bytes(), f))
        points = _parsed(files[2], lambda f: binary_points(f.read_bytes(), f))
    else:
        cameras = _parsed(files[0], lambda f: text_cameras(_lines(f), f))
        images = _parsed(files[1], lambda f: text_images(_lines(f), f))
        points = _parsed(files[2], lambda f: text_points(_lines(f), f))
    if not images:
        raise InputError(f"{files[1]} registers no image: the reconstruction failed; run the mapper again")
    for image in images:
        if image.camera_id not in cameras:
            raise InputError(
                f"{files[1]}: image {image.name} was taken by camera {image.camera_id}, and {files[0]} has "
                f"{', '.join(map(str, sorted(cameras)[:10]))}: the files are of different models"
            )
    ordered = sorted(images, key=lambda image: image.name)
    double = next((a.name for a, b in itertools.pairwise(ordered) if a.name == b.name), None)
    if double is not None:
        raise InputError(f"{files[1]} registers the image {double} twice: export the model again")
    return SparseModel(folder, cameras, tuple(ordered), points)


def _parsed(file: Path, read: Callable[[Path], _T]) -> _T:
    try:
        return read(file)
    except (struct.error, UnicodeDecodeError, OverflowError, IndexError) as error:
        raise InputError(f"{file} is damaged ({error}): copy or export the model again") from error


class _Reader:
    """Reads little-endian values one after another; refuses to read beyond the end of the file."""

    def __init__(self, data: bytes, file: Path) -> None:
        self.data, self.file, self.at = data, file, 0

    def take(self, form: str) -> tuple:
        size = struct.calcsize(form)
        self.need(size)
        values = struct.unpack_from(form, self.data, self.at)
        self.at += size
        return values

    def need(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise InputError(
                f"{self.file} ends at byte {len(self.data)} where {size} more are due at {self.at}: it was cut "
                "off or is no such file. Copy or export the model again"
            )

    def count(self, smallest: int, what: str) -> int:
        """Read a number of records and check that the file can hold them.

        Args:
            smallest: bytes of a record, at least.
            what: the records in words, for the error.
        """
        n = self.take("<Q")[0]
        if n * smallest > len(self.data) - self.at:
            raise InputError(
                f"{self.file} announces {n} {what} at byte {self.at - 8}, and {len(self.data) - self.at} bytes "
                "are left: it is damaged, cut off or no such file. Copy or export the model again"
            )
        return n

    def array(self, dtype: np.dtype, n: int) -> np.ndarray:
        self.need(n * dtype.itemsize)
        found = np.frombuffer(self.data, dtype, n, self.at)
        self.at += n * dtype.itemsize
        return found

    def name(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            self.need(len(self.data))
        found = self.data[self.at : end].decode("utf-8", "surrogateescape")  # as Python names files
        self.at = end + 1
        return found


def binary_cameras(data: bytes, file: Path) -> dict[int, Lens]:
    """Parse cameras.bin: camera id -> lens. ``file`` is named in errors."""
    source = _Reader(data, file)
    cameras = {}
    for _ in range(source.count(24, "cameras")):
        ident, model, width, height = source.take("<iiQQ")
        if model not in NAMES:
            raise _unknown_model(file, ident, model)
        n = len(MODELS[NAMES[model]].names)
        params = source.take(f"<{n}d")
        cameras[ident] = make_lens(NAMES[model], width, height, params, f"camera {ident} of {file}")
    return cameras


def _unknown_model(file: Path, ident: int, model: int) -> ValueError:
    if model in UNSUPPORTED_IDS:
        name = UNSUPPORTED_IDS[model]
        try:
            make_lens(name, 1, 1, (), f"camera {ident} of {file}")
        except ValueError as error:
            return error
    known = ", ".join(f"{i} {name}" for i, name in NAMES.items())
    return InputError(
        f"camera {ident} of {file} has the model id {model}, which is not known ({known}): the file is damaged, "
        "or a newer COLMAP wrote it; convert the camera (colmap image_undistorter writes PINHOLE)"
    )


_FEATURE = np.dtype([("xy", "<f8", 2), ("point", "<i8")])
_POINT = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("n", "<u8")])


def binary_images(data: bytes, file: Path) -> list[Registered]:
    """Parse images.bin. ``file`` is named in errors."""
    source = _Reader(data, file)
    images = []
    for _ in range(source.count(73, "images")):
        ident, *pose, camera = source.take("<I7dI")
        name = source.name()
        seen = source.array(_FEATURE, source.count(_FEATURE.itemsize, f"features of {name}"))
        images.append(_registered(ident, name, camera, pose, seen["xy"], seen["point"], file))
    return images


def binary_points(data: bytes, file: Path) -> Points:
    """Parse points3D.bin. ``file`` is named in errors."""
    source = _Reader(data, file)
    n = source.count(_POINT.itemsize, "points")
    starts = np.empty(n, np.int64)
    for i in range(n):
        starts[i] = source.at
        source.need(_POINT.itemsize)
        source.at += _POINT.itemsize - 8
        n_seen = source.count(8, "observations")
        source.at += 8 * n_seen
    raw = np.frombuffer(data, np.uint8)[starts[:, None] + np.arange(_POINT.itemsize)]
    found = raw.reshape(-1).view(_POINT)
    return _points(found["id"], found["xyz"], found["rgb"], found["error"], found["n"], file)


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()


def _fields(line: str, n: int, number: int, file: Path) -> list[str]:
    found = line.split()
    if len(found) < n:
        raise InputError(
            f"{file}, line {number}: expected {n} fields or more, found {len(found)}: {line[:80]!r}"
        )
    return found


def _numbers(values: Sequence[str], kind: Callable[[str], _T], number: int, file: Path) -> list[_T]:
    try:
        return [kind(v) for v in values]
    except ValueError as error:
        raise InputError(f"{file}, line {number}: {error}. Export the model again") from error


def text_cameras(lines: Sequence[str], file: Path) -> dict[int, Lens]:
    """Parse cameras.txt, a camera a line: CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]."""
    cameras = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        ident, model, *rest = _fields(line, 4, number, file)
        key, width, height = _numbers([ident, *rest[:2]], int, number, file)
        params = tuple(_numbers(rest[2:], float, number, file))
        cameras[key] = make_lens(model, width, height, params, f"camera {key} of {file}")
    return cameras


def text_images(lines: Sequence[str], file: Path) -> list[Registered]:
    """Parse images.txt, two lines an image.

    The first is IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, the second (X Y POINT3D_ID)[], empty without features.
    """
    images, at = [], 0
    while at < len(lines):
        line, at = lines[at], at + 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        number = at
        _fields(line, 10, number, file)
        *first, name = line.split(None, 9)
        ident, camera = _numbers([first[0], first[8]], int, number, file)
        pose = _numbers(first[1:8], float, number, file)
        following = lines[at] if at < len(lines) else ""
        if is_image_line(following):
            raise InputError(
                f"{file}, line {at + 1}: each image takes two lines, and the second may be empty; after that of "
                f"{name.strip()} stands the next image's ({following.split(None, 9)[9].strip()}). The lines of "
                "features were removed: put an empty line after each image, or export the model again"
            )
        seen = following.split()
        at += 1
        if len(seen) % 3:
            raise InputError(
                f"{file}, line {at}: the features of {name.strip()} are triples (x, y, point); found {len(seen)} "
                "numbers. The file was cut off: export the model again"
            )
        xy = np.array(_numbers([*seen[0::3], *seen[1::3]], float, at, file)).reshape(2, -1).T
        points = np.array(_numbers(seen[2::3], int, at, file), np.int64)
        images.append(_registered(ident, name.strip(), camera, pose, xy, points, file))
    return images


def text_points(lines: Sequence[str], file: Path) -> Points:
    """Parse points3D.txt, a point a line: POINT3D_ID X Y Z R G B ERROR (IMAGE_ID POINT2D_IDX)[]."""
    ids, xyz, rgb, error, n = [], [], [], [], []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _fields(line, 8, number, file)
        ids.append(_numbers(found[:1], int, number, file)[0])
        values = _numbers(found[1:8], float, number, file)
        xyz.append(values[:3])
        rgb.append(np.clip(np.nan_to_num(values[3:6]), 0, 255))
        error.append(values[6])
        n.append((len(found) - 8) // 2)
    return _points(
        np.array(ids, np.uint64),
        np.array(xyz, np.float64).reshape(-1, 3),
        np.array(rgb).reshape(-1, 3).astype(np.uint8),
        np.array(error, np.float64),
        np.array(n),
        file,
    )


def _registered(
    ident: int, name: str, camera: int, pose: Sequence[float], xy: np.ndarray, points: np.ndarray, file: Path
) -> Registered:
    q, t = np.array(pose[:4]), np.array(pose[4:])
    length = float(np.linalg.norm(q))
    if not np.isfinite(pose).all() or not 0.5 < length < 2:
        raise InputError(
            f"{file}: the pose of image {name} is no finite unit quaternion and shift (quaternion {q.tolist()}, "
            f"shift {t.tolist()}): take the image out of the model or export it again"
        )
    w2c = np.concatenate([rotation(q / length), t[:, None]], 1)
    return Registered(ident, name, camera, w2c, np.ascontiguousarray(xy), np.ascontiguousarray(points))


def _points(ids, xyz, rgb, error, n, file: Path) -> Points:
    bad = np.flatnonzero(~np.isfinite(xyz).all(1))
    if len(bad):
        raise InputError(
            f"{file}: point {ids[bad[0]]} has nan or inf coordinates ({len(bad)} such): export the model again"
        )
    return Points(
        ids.astype(np.int64),
        np.ascontiguousarray(xyz, np.float64),
        np.ascontiguousarray(rgb),
        np.nan_to_num(error.astype(np.float64), nan=-1.0, posinf=1e9),
        n.astype(np.int64),
    )


def rotation(q: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    """The rotation matrix of a unit quaternion (w, x, y, z)."""
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
