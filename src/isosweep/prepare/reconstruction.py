"""A reconstruction with pin-hole cameras. Every stage after the undistortion reads it from one npz file.

Axes: V views in the order of their names, P points, O observations (one point seen in one view).
Frames: poses are OpenCV camera-to-world (x right, y down, z forward) in the world units of the reconstruction.
Pixels: the image's top left corner is (0, 0), so the centre of the first pixel is (0.5, 0.5).
"""

import io
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from isosweep.data.arrays import Sought, read_npz
from isosweep.errors import InputError
from isosweep.runtime.files import atomic_write_bytes


@dataclass(frozen=True)
class Reconstruction:
    """Cameras, points, and which point was seen where. Field names are the names of the arrays in the file."""

    names: tuple[str, ...]
    """Image file of each view."""
    hw: Int[np.ndarray, "v 2"]
    """Height and width in pixels."""
    K: Float[np.ndarray, "v 3 3"]
    """Intrinsics in pixels."""
    c2w: Float[np.ndarray, "v 3 4"]
    camera: Int[np.ndarray, " v"]
    """Number of the camera that took the view; views of one camera share K and hw."""
    xyz: Float[np.ndarray, "p 3"]
    rgb: UInt8[np.ndarray, "p 3"]
    error: Float[np.ndarray, " p"]
    """Mean reprojection error in pixels."""
    seen_view: Int[np.ndarray, " o"]
    """The observation's view, an index into ``names``."""
    seen_point: Int[np.ndarray, " o"]
    """The observation's point, an index into ``xyz``."""
    seen_xy: Float[np.ndarray, "o 2"]
    """The observation's place in the image, in pixels."""

    def __len__(self) -> int:
        """Number of views."""
        return len(self.names)

    def project(
        self, view: int, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
        """Project world points into a view: pixels (x, y), and depth along the optical axis in world units.

        Points behind the camera have a negative depth. Points with depth 0 have no finite pixel (nan or inf).
        """
        local = (points - self.c2w[view, :, 3]) @ self.c2w[view, :, :3]
        with np.errstate(divide="ignore", invalid="ignore"):
            image = (local / local[:, 2:]) @ self.K[view].T
        return image[:, :2], local[:, 2]

    def in_image(self, view: int, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """True for world points in front of the camera that project into the image; occlusion is ignored."""
        xy, depth = self.project(view, points)
        h, w = self.hw[view]
        return (depth > 0) & (xy >= 0).all(1) & (xy[:, 0] < w) & (xy[:, 1] < h)


def save(path: Path, recon: Reconstruction) -> None:
    """Write the file in one step, so that it is never half written."""
    buffer = io.BytesIO()
    arrays = {f.name: getattr(recon, f.name) for f in fields(Reconstruction)}
    np.savez_compressed(buffer, **{**arrays, "names": np.array(recon.names)})
    atomic_write_bytes(path, buffer.getvalue())


def load(path: Path) -> Reconstruction:
    """Read a file that `save` wrote.

    Raises:
        ValueError: the file is damaged, or not one of ours.
    """
    names = [field.name for field in fields(Reconstruction)]
    try:
        found = read_npz(path, "the reconstruction", names.__contains__, Sought(kinds="fiubU", most=2**34))
        arrays = {name: found[name] for name in names}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"cannot read the reconstruction in {path} ({error}): delete this file, and the next run makes it again"
        ) from error
    return Reconstruction(**{**arrays, "names": tuple(map(str, arrays["names"]))})
