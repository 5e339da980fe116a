"""Removes lens distortion: resamples an image to that of a pin-hole camera without blank pixels.

Pixels as in data/lens.py: the top left one covers [0, 1]^2. (u, v) are points of the plane z = 1.
Similar to COLMAP's image_undistorter with blank_pixels=0 and max_scale=2.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.nn import functional as F

from isosweep.data.lens import Lens
from isosweep.errors import InputError

GROWTH = 2.0
"""Factor by which an image may extend further from its centre than before, at most (COLMAP's max_scale)."""
_REACH = 8.0
"""Tangent of the angle from the optical axis up to which rays are searched (83 degrees)."""


@dataclass(frozen=True)
class Undistortion:
    """The pin-hole camera that replaces ``lens``; its image has ``width`` x ``height`` pixels."""

    lens: Lens
    width: int
    height: int
    centre: tuple[float, float]

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        """Intrinsics with the focal lengths of the lens, so that the middle of the image keeps its resolution."""
        (fx, fy), (cx, cy) = self.lens.focal, self.centre
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


@lru_cache(maxsize=4096)
def plan(lens: Lens) -> Undistortion:
    """The largest pin-hole image of which every pixel is inside the distorted image.

    The rectangle inside the undistorted border is taken, at most `GROWTH` times as far from the centre as the
    border was. It is shrunk until all its points are inside the image and the distortion is one-to-one there.

    Raises:
        ValueError: that leaves less than a fifth of the image's width or height.
    """
    u0, u1, v0, v1 = _inner(lens)
    shrink = 1.0
    while not _covered(lens, u0 * shrink, u1 * shrink, v0 * shrink, v1 * shrink):
        shrink *= 0.98
        if shrink < 0.2:
            raise InputError(
                f"the distortion of a {lens.model} camera ({', '.join(f'{p:g}' for p in lens.extra)}) folds the image "
                "over near its middle: the calibration failed; run it again with a simpler camera model"
            )
    (fx, fy), (cx, cy) = lens.focal, lens.centre
    left, right = int(np.floor(-u0 * shrink * fx + 1e-6)), int(np.floor(u1 * shrink * fx + 1e-6))
    up, down = int(np.floor(-v0 * shrink * fy + 1e-6)), int(np.floor(v1 * shrink * fy + 1e-6))
    # the centre moves by whole pixels, so that pixels without distortion are not interpolated
    fraction = (cx - float(np.floor(cx)), cy - float(np.floor(cy)))
    width, height = left + right, up + down
    if width < 0.2 * lens.width or height < 0.2 * lens.height:
        raise InputError(
            f"undistorting a {lens.model} camera of {lens.width}x{lens.height} leaves {width}x{height} pixels: the "
            f"calibration ({', '.join(f'{p:g}' for p in lens.params)}) is no camera's; run it again"
        )
    return Undistortion(lens, width, height, (left + fraction[0], up + fraction[1]))


def apply(
    pixels: UInt8[np.ndarray, "h w c"], how: Undistortion, premultiply: bool = False
) -> UInt8[np.ndarray, "h2 w2 c"]:
    """The undistorted pixels, by bilinear interpolation.

    Args:
        premultiply: weight the colours by the fourth channel, so that invisible pixels do not bleed in.
    """
    flat = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
    if premultiply:
        flat = torch.cat([flat[:, :3] * flat[:, 3:], flat[:, 3:]], 1)
    # align_corners=False: -1 and 1 are the outer edges of the image, as in _grid
    out = F.grid_sample(flat, _grid(how), mode="bilinear", padding_mode="border", align_corners=False)
    if premultiply:
        out = torch.cat([out[:, :3] / out[:, 3:].clamp_min(1.0), out[:, 3:]], 1)
    return out[0].permute(1, 2, 0).round().clamp(0, 255).byte().contiguous().numpy()


@lru_cache(maxsize=2)
def _grid(how: Undistortion) -> torch.Tensor:
    """Positions [1, h, w, 2] of the output's pixels in the distorted image, for grid_sample: -1 and 1 are its edges.

    They are computed row by row, which bounds the memory.
    """
    K, size = how.K, np.array([how.lens.width, how.lens.height])
    grid = np.empty((1, how.height, how.width, 2), np.float32)
    u = (np.arange(how.width) + 0.5 - K[0, 2]) / K[0, 0]
    for row in range(how.height):
        v = (row + 0.5 - K[1, 2]) / K[1, 1]
        place = how.lens.project(np.stack([u, np.full_like(u, v)], 1))
        grid[0, row] = 2 * place / size - 1
    return torch.from_numpy(np.nan_to_num(grid))


def _inner(lens: Lens) -> tuple[float, float, float, float]:
    """A rectangle inside the undistorted border: u left (below 0), u right, v top (below 0), v bottom."""
    w, h = lens.width, lens.height
    (fx, fy), (cx, cy) = lens.focal, lens.centre
    x, y = np.linspace(0, w, 129), np.linspace(0, h, 129)
    sides = [
        np.stack([np.zeros_like(y), y], 1),
        np.stack([np.full_like(y, w), y], 1),
        np.stack([x, np.zeros_like(x)], 1),
        np.stack([x, np.full_like(x, h)], 1),
    ]
    far = [-cx / fx, (w - cx) / fx, -cy / fy, (h - cy) / fy]
    found = []
    for side, (pixels, limit) in enumerate(zip(sides, far, strict=True)):
        reach = np.abs(unproject(lens, pixels)[:, side // 2])
        nearest = np.nanmin(np.append(reach, np.inf))
        found.append(float(np.sign(limit) * min(nearest, GROWTH * abs(limit))))
    return found[0], found[1], found[2], found[3]


def unproject(lens: Lens, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """The points (u, v) that ``lens.project`` maps to ``pixels``, by Newton's method; nan where there is none.

    The start is the first point in the pixel's direction from the centre whose distorted radius reaches the
    pixel's.
    """
    offset = (pixels - lens.centre) / lens.focal
    target = np.linalg.norm(offset, axis=1)
    direction = offset / np.maximum(target, 1e-12)[:, None]
    radii = np.concatenate([np.linspace(0, 2, 201), np.geomspace(2.02, _REACH, 60)])
    along = lens.project((direction[:, None] * radii[:, None]).reshape(-1, 2)).reshape(len(pixels), -1, 2)
    reached = np.linalg.norm((along - lens.centre) / lens.focal, axis=2) >= target[:, None] - 1e-9
    plane = direction * radii[np.argmax(reached, 1)][:, None]
    for _ in range(20):
        value = lens.project(plane) - pixels
        J = _jacobian(lens, plane)
        with np.errstate(all="ignore"):
            det = J[:, 0, 0] * J[:, 1, 1] - J[:, 0, 1] * J[:, 1, 0]
            step = (
                np.stack(
                    [
                        J[:, 1, 1] * value[:, 0] - J[:, 0, 1] * value[:, 1],
                        J[:, 0, 0] * value[:, 1] - J[:, 1, 0] * value[:, 0],
                    ],
                    1,
                )
                / np.where(det == 0, np.nan, det)[:, None]
            )
        plane = plane - step
    off = np.abs(lens.project(plane) - pixels).max(1)
    return np.where((reached.any(1) & (off < 1e-6 * max(lens.width, lens.height)))[:, None], plane, np.nan)


def _jacobian(lens: Lens, plane: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2 2"]:
    eps = 1e-6
    columns = [
        (lens.project(plane + step) - lens.project(plane - step)) / (2 * eps)
        for step in (np.array([eps, 0]), np.array([0, eps]))
    ]
    return np.stack(columns, 2)


def _covered(lens: Lens, u0: float, u1: float, v0: float, v1: float) -> bool:
    """Whether all points of a rectangle are inside the image, and the distortion is one-to-one there."""
    u, v = np.linspace(u0, u1, 65), np.linspace(v0, v1, 65)
    rays = np.stack(np.meshgrid(u, v), -1).reshape(-1, 2)
    place = lens.project(rays)
    # pixels are sampled at their centres, so the edges may be outside by half a pixel
    inside = (place > -0.5) & (place < np.array([lens.width, lens.height]) + 0.5)
    return bool(inside.all() and (np.linalg.det(_jacobian(lens, rays)) > 0).all())
