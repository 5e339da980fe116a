"""Cameras that lie in text files beside the images: a pose a view, and intrinsics for all views or for each.

A pose is a 4x4 matrix, OpenCV camera-to-world (x right, y down, z forward), one number after the other. Intrinsics are
a 4x4 or 3x3 matrix, or the lines of DeepVoxels:

    f cx cy 0
    x y z               centre of the grid, not used
    near
    scale
    height width        of the images that were calibrated
    world2cam           1 where poses are world-to-camera; may be absent

Sources: Sitzmann et al., DeepVoxels, data_util.py; Liu et al., NSVF, fairnr/data/data_utils.py; Zhang et al., NeRF++.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from isosweep.data.decode import read_size
from isosweep.data.image_files import ENDINGS
from isosweep.data.lens import Lens, make_lens
from isosweep.errors import InputError
from isosweep.runtime.text import natural_key
from isosweep.runtime.text_file import MATRIX_BYTES, read_text

log = logging.getLogger("isosweep")


@dataclass(frozen=True)
class Intrinsics:
    """What a file of intrinsics says, in pixels of the images that were calibrated."""

    fx: float
    fy: float
    cx: float
    cy: float
    size: tuple[int, int] | None = None
    """Width and height of the images that were calibrated; None where the file does not say."""
    world_to_camera: bool = False
    """Whether the poses are the other way round."""

    def lens(self, image: Path, file: Path) -> Lens:
        """The lens for an image, in the image's own size.

        Where the file says the calibrated size, the centre is scaled along each axis and the focal length by the
        height, as DeepVoxels does. Else the intrinsics have to be those of the image.

        Raises:
            InputError: the principal point says that the intrinsics belong to images of another size.
        """
        width, height, turned = read_size(image, file)
        if turned >= 5:
            width, height = height, width
        if self.size is None:
            self._check(width, height, image, file)
            params = (self.fx, self.fy, self.cx, self.cy)
        else:
            x, y = width / self.size[0], height / self.size[1]
            params = (self.fx * y, self.fy * y, self.cx * x, self.cy * y)
        return make_lens("PINHOLE", width, height, params, f"{file} ({image.name})")

    def _check(self, width: int, height: int, image: Path, file: Path) -> None:
        place = np.array([self.cx / width, self.cy / height])
        if (np.abs(place - 0.5) > 0.25).any():
            factor = float(np.median(2 * place))
            raise InputError(
                f"{file}: the principal point is ({self.cx:.1f}, {self.cy:.1f}), and {image} has {width}x{height} "
                f"pixels: the intrinsics seem to be made for images {factor:.2g} times as large. Use those images, or "
                f"divide the first two rows by {factor:.2g}"
            )


def read_intrinsics(file: Path) -> Intrinsics:
    """Read a file of intrinsics of any of the forms above.

    Raises:
        FileNotFoundError: there is none.
        InputError: it is none of these forms.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"no intrinsics at {file}: expected a 4x4 or 3x3 matrix, or DeepVoxels' lines"
        )
    rows = _numbers(file)
    if not all(np.isfinite(row).all() for row in rows):
        raise InputError(f"{file} has a number that is not finite: export it again")
    if len(rows) == 1 and len(rows[0]) in (9, 16):  # NeRF++ writes a matrix into one line
        side = 3 if len(rows[0]) == 9 else 4
        rows = [rows[0][i * side : (i + 1) * side] for i in range(side)]
    lengths = [len(row) for row in rows]
    if lengths in ([3] * 3, [4] * 4, [4] * 3):
        K = np.array([row[:3] for row in rows[:3]])
        if K[0, 0] > 0 and K[1, 1] > 0 and np.isfinite(K).all():
            if abs(K[0, 1]) > 1e-3 * K[0, 0]:
                raise InputError(
                    f"{file} has a skew of {K[0, 1]:g}, and cameras here have none: export it again"
                )
            return Intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    if len(rows) >= 5 and lengths[0] >= 3 and lengths[4] == 2 and rows[0][0] > 0 and min(rows[4]) > 0:
        f, cx, cy = rows[0][:3]
        if not all(1 <= side < 1e6 for side in rows[4]):
            raise InputError(f"{file} has the image size {rows[4]} (height, width): export it again")
        height, width = (round(side) for side in rows[4])
        other_way = len(rows) > 5 and rows[5][:1] == [1.0]
        return Intrinsics(f, f, cx, cy, (width, height), other_way)
    # the first row of a matrix has a 0 where this line has cx
    if lengths and 3 <= lengths[0] <= 4 and min(rows[0][:3]) > 0:
        f, cx, cy = rows[0][:3]
        return Intrinsics(f, f, cx, cy)
    raise InputError(
        f"{file} has lines of {', '.join(map(str, lengths[:8])) or 'no'} numbers: expected a 4x4 or 3x3 matrix with "
        "positive focal lengths, or DeepVoxels' lines (f cx cy 0; centre; near; scale; height width)"
    )


def read_pose(file: Path, *, world_to_camera: bool = False) -> np.ndarray:
    """Read a pose as OpenCV camera-to-world [3, 4].

    Raises:
        InputError: it is no finite 4x4 or 3x4 matrix, or its left part is no rotation.
    """
    values = [value for row in _numbers(file) for value in row]
    if len(values) not in (12, 16) or not np.isfinite(values).all():
        raise InputError(
            f"{file} is no finite 4x4 matrix ({len(values)} numbers): remove the view, or export it again"
        )
    pose = np.array(values).reshape(-1, 4)[:3]
    rotation = pose[:, :3]
    if no_rotation(rotation[None]).any():
        raise InputError(
            f"{file} holds no rotation (axis lengths {np.linalg.norm(rotation, axis=0).round(3).tolist()}): normalise "
            "it, the scale belongs to the scene"
        )
    if world_to_camera:
        return np.concatenate([rotation.T, -rotation.T @ pose[:, 3:]], 1)
    return pose


def no_rotation(matrices: Float[np.ndarray, "v 3 3"]) -> Bool[np.ndarray, " v"]:
    """Which of the matrices are no rotations: their axes have other lengths or angles, or they mirror."""
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
        return ~(off <= 1e-2) | ~(np.linalg.det(matrices) > 0)


def is_lost(file: Path) -> bool:
    """Whether a pose is one that the tracker lost: ScanNet writes -inf."""
    return not np.isfinite([value for row in _numbers(file) for value in row]).all()


def paired(images: Path, poses: Path) -> list[tuple[Path, Path]]:
    """The images that have a pose of the same name, in natural order, each with it. The others are named in the log.

    Raises:
        FileNotFoundError: no image has a pose.
    """
    by_stem = {file.stem: file for file in poses.glob("*.txt")}
    files = sorted((p for p in images.iterdir() if p.suffix.lower() in ENDINGS), key=natural)
    pairs = [(file, by_stem[file.stem]) for file in files if file.stem in by_stem]
    without = [file.name for file in files if file.stem not in by_stem]
    if not pairs:
        raise FileNotFoundError(
            f"no image of {images} ({', '.join(without[:3]) or 'it has none'}) has a pose in {poses} "
            f"({', '.join(sorted(by_stem)[:3]) or 'it has no .txt'}): poses are named like their images"
        )
    if without:
        log.warning("%d images of %s have no pose and are left out: %s", len(without), images, _some(without))
    used = {file.stem for file, _ in pairs}
    extra = sorted(set(by_stem) - used)
    if extra:
        log.info("%d poses in %s have no image: %s", len(extra), poses, _some(extra))
    return pairs


def natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts 2.png before 10.png."""
    return natural_key(path.name)


def read_box(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """NSVF's bbox.txt: the corners of the box that holds the object; a voxel size may follow.

    Raises:
        InputError: it has fewer than six finite numbers, or a box without extent.
    """
    values = [value for row in _numbers(file) for value in row]
    box = np.array(values[:6])
    if len(box) < 6 or not np.isfinite(box).all() or not (box[3:] > box[:3]).all():
        raise InputError(
            f"{file} has {values[:7]}, expected x0 y0 z0 x1 y1 z1 with x0 < x1 (a voxel size may follow): correct it,"
            " or remove it to find the box from the cameras"
        )
    return box[:3], box[3:]


def _numbers(file: Path) -> list[list[float]]:
    """The numbers of a text, line by line; empty lines are left out."""
    try:
        lines = read_text(file, "numbers", MATRIX_BYTES).splitlines()
        return [[float(word) for word in re.split(r"[\s,]+", line.strip())] for line in lines if line.strip()]
    except ValueError as error:
        raise InputError(f"{file} is no text of numbers ({str(error)[:200]}): export it again") from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
