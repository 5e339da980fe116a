"""A reconstruction with pin-hole cameras, as every step after the poses reads it: one npz.

Axes: V views in order of their names, P points, O observations (a point seen in a view).
Frames: world units of the reconstruction; OpenCV camera-to-world; pixel (0, 0) covers [0, 1]^2.
"""

import io
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Int, UInt8

from isosweep.record.files import atomic_write_bytes


@dataclass(frozen=True)
class Solved:
    """Cameras, points and what was seen where."""

    names: tuple[str, ...]
    """Image files."""
    hw: Int[np.ndarray, "v 2"]
    K: Float[np.ndarray, "v 3 3"]
    c2w: Float[np.ndarray, "v 3 4"]
    camera: Int[np.ndarray, " v"]
    """Number of the camera that took the view; views of one camera share K and hw."""
    xyz: Float[np.ndarray, "p 3"]
    rgb: UInt8[np.ndarray, "p 3"]
    error: Float[np.ndarray, " p"]
    """Mean reprojection error, pixels."""
    seen_view: Int[np.ndarray, " o"]
    seen_point: Int[np.ndarray, " o"]
    seen_xy: Float[np.ndarray, "o 2"]

    def __len__(self) -> int:
        return len(self.names)

    def project(
        self, view: int, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
        """Pixels (x, y), where (0, 0) is the image's corner, and depth; nan for a point on the camera's plane."""
        local = (points - self.c2w[view, :, 3]) @ self.c2w[view, :, :3]
        with np.errstate(divide="ignore", invalid="ignore"):
            image = (local / local[:, 2:]) @ self.K[view].T
        return image[:, :2], local[:, 2]

    def framed(self, view: int, points: Float[np.ndarray, "n 3"]) -> np.ndarray:
        """True for points before the camera that fall into its image."""
        xy, depth = self.project(view, points)
        h, w = self.hw[view]
        return (depth > 0) & (xy >= 0).all(1) & (xy[:, 0] < w) & (xy[:, 1] < h)


def save(path: Path, solved: Solved) -> None:
    """Whole or not at all."""
    buffer = io.BytesIO()
    arrays = {f.name: getattr(solved, f.name) for f in fields(Solved)}
    np.savez_compressed(buffer, **{**arrays, "names": np.array(solved.names)})
    atomic_write_bytes(path, buffer.getvalue())


def load(path: Path) -> Solved:
    """Raise ValueError where the file is none of ours or damaged."""
    try:
        with np.load(path) as data:
            arrays = {f.name: data[f.name] for f in fields(Solved)}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"cannot read the poses in {path} ({error}): delete it, and they are made again"
        ) from error
    return Solved(**{**arrays, "names": tuple(map(str, arrays["names"]))})
