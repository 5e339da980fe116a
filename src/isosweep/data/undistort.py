"""Images of a distorted lens made those of a pin-hole camera, without blank pixels.

Pixels as in data/lens.py: the top left one covers [0, 1]^2.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.nn import functional as F

from isosweep.data.lens import Lens

GROWTH = 2.0
"""Most that an image's extent on either side of the centre may grow (COLMAP's max_scale)."""
_REACH = 8.0
"""Tangent of the widest ray that is looked at (83 degrees)."""


@dataclass(frozen=True)
class Undistortion:
    """The pin-hole camera (pixels of ``width`` x ``height``) that stands for ``lens``."""

    lens: Lens
    width: int
    height: int
    centre: tuple[float, float]

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        """The lens's focal lengths, so that the middle keeps its resolution."""
        (fx, fy), (cx, cy) = self.lens.focal, self.centre
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


@lru_cache(maxsize=4096)
def plan(lens: Lens) -> Undistortion:
    """The largest pin-hole image with pixels as fine as the lens's middle and none from outside the image.

    The image's border is undistorted and the rectangle inside it taken, at most `GROWTH` times as far from
    the centre; it is shrunk where the distortion folds over, so that every pixel shows one thing.

    Raises:
        ValueError: no such rectangle of a fifth of the image's size.
    """
    u0, u1, v0, v1 = _inner(lens)
    shrink = 1.0
    while not _covered(lens, u0 * shrink, u1 * shrink, v0 * shrink, v1 * shrink):
        shrink *= 0.98
        if shrink < 0.2:
            raise ValueError(
                f"the distortion of a {lens.model} camera ({', '.join(f'{p:g}' for p in lens.extra)}) folds the image "
                "over near its middle: the calibration failed; run it again with a simpler camera model"
            )
    (fx, fy), (cx, cy) = lens.focal, lens.centre
    left, right = int(np.floor(-u0 * shrink * fx + 1e-6)), int(np.floor(u1 * shrink * fx + 1e-6))
    up, down = int(np.floor(-v0 * shrink * fy + 1e-6)), int(np.floor(v1 * shrink * fy + 1e-6))
    # whole pixels either side of the centre, and its fraction as it was: straight parts stay unsampled
    fraction = (cx - float(np.floor(cx)), cy - float(np.floor(cy)))
    width, height = left + right, up + down
    if width < 0.2 * lens.width or height < 0.2 * lens.height:
        raise ValueError(
            f"undistorting a {lens.model} camera of {lens.width}x{lens.height} leaves {width}x{height} pixels: the "
            f"calibration ({', '.join(f'{p:g}' for p in lens.params)}) is no camera's; run it again"
        )
    return Undistortion(lens, width, height, (left + fraction[0], up + fraction[1]))


def apply(
    pixels: UInt8[np.ndarray, "h w c"], how: Undistortion, premultiply: bool = False
) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Bilinear samples; under alpha (``premultiply``) invisible pixels do not bleed in."""
    flat = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
    if premultiply:
        flat = torch.cat([flat[:, :3] * flat[:, 3:], flat[:, 3:]], 1)
    # grid_sample counts [-1, 1] over whole pixels, as the places do
    out = F.grid_sample(flat, _grid(how), mode="bilinear", padding_mode="border", align_corners=False)
    if premultiply:
        out = torch.cat([out[:, :3] / out[:, 3:].clamp_min(1.0), out[:, 3:]], 1)
    return out[0].permute(1, 2, 0).round().clamp(0, 255).byte().contiguous().numpy()


@lru_cache(maxsize=2)
def _grid(how: Undistortion) -> torch.Tensor:
    """Where the output's pixels lie in the lens's image, [-1, 1]; a row at a time bounds the memory."""
    K, size = how.K, np.array([how.lens.width, how.lens.height])
    grid = np.empty((1, how.height, how.width, 2), np.float32)
    u = (np.arange(how.width) + 0.5 - K[0, 2]) / K[0, 0]
    for row in range(how.height):
        v = (row + 0.5 - K[1, 2]) / K[1, 1]
        place = how.lens.project(np.stack([u, np.full_like(u, v)], 1))
        grid[0, row] = 2 * place / size - 1
    return torch.from_numpy(np.nan_to_num(grid))


def _inner(lens: Lens) -> tuple[float, float, float, float]:
    """left < 0, right > 0, top < 0, bottom > 0 on the plane z = 1: inside the undistorted border."""
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
    """The inverse of ``lens.project`` by Newton's method; nan where a pixel is no front ray's image.

    Starts where the distorted radius along the pixel's direction first reaches the pixel's own.
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
    """Whether a rectangle of rays lies in the image and is not folded over."""
    u, v = np.linspace(u0, u1, 65), np.linspace(v0, v1, 65)
    rays = np.stack(np.meshgrid(u, v), -1).reshape(-1, 2)
    place = lens.project(rays)
    # a pixel's middle is what is sampled: half a pixel of slack
    inside = (place > -0.5) & (place < np.array([lens.width, lens.height]) + 0.5)
    return bool(inside.all() and (np.linalg.det(_jacobian(lens, rays)) > 0).all())
