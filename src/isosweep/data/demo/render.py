"""Renders images of a solid of the demo by sphere tracing, with many rays a pixel and straight alpha.

Axes: R rays. Each pixel is first traced as one cone that holds all its rays. The rays start where the cone first
touches the surface; where it touches nothing they are not traced. Rays are traced in chunks that fit the
processor's cache, which makes this take seconds instead of minutes.
Source: Hart 1996, sphere tracing.
"""

import math

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from isosweep.data.demo.mirror import reflection
from isosweep.data.demo.scenes import Solid, shade
from isosweep.data.demo.tracing import REACH, single_threaded, trace
from isosweep.geometry import pixel_rays, sphere_hit
from isosweep.types import Cameras

_CHUNK = 60_000
"""Rays traced together."""


def render_views(solid: Solid, cameras: Cameras, supersample: int) -> UInt8[np.ndarray, "v h w 4"]:
    """RGBA images of all views, which have one size.

    A pixel is the premultiplied mean of ``supersample`` squared rays; its colour is stored not premultiplied.
    """
    h, w = cameras.hw[0].tolist()

    with single_threaded(), torch.inference_mode():
        return np.stack(
            [_render(solid, cameras, view, supersample).view(h, w, 4).numpy() for view in range(len(cameras))]
        )


def _render(solid: Solid, cameras: Cameras, view: int, s: int) -> UInt8[Tensor, "n 4"]:
    """One view, [h * w, 4], row by row."""
    h, w = cameras.hw[view].tolist()
    out = torch.zeros(h * w, 4, dtype=torch.uint8)
    row, col = (v.reshape(-1) for v in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    middle = pixel_rays(cameras, torch.full_like(row, view), row, col, torch.zeros(3))
    # half of a pixel's diagonal at distance 1, and 2% more for rounding
    cone = 1.02 * math.sqrt(0.5) / float(cameras.K[view, 0, 0])
    start, touched = trace(solid, middle, sphere_hit(middle, REACH)[0] - 2 * cone, cone)
    for some in touched.nonzero()[:, 0].split(max(1, _CHUNK // s**2)):
        out[some] = _pixels(solid, cameras, view, row[some], col[some], start[some], s)
    return out


def _pixels(
    solid: Solid, cameras: Cameras, view: int, row: Tensor, col: Tensor, start: Tensor, s: int
) -> UInt8[Tensor, "n 4"]:
    """The mean of s x s rays in each of the given pixels; ``start`` [n] is valid for all rays of a pixel."""
    # middles of the sub-pixels, relative to the pixel's own
    offset = (torch.arange(s) + 0.5) / s - 0.5
    down, right = (v.reshape(-1) for v in torch.meshgrid(offset, offset, indexing="ij"))
    sub_row, sub_col = (row[:, None] + down).reshape(-1), (col[:, None] + right).reshape(-1)
    rays = pixel_rays(cameras, torch.full((len(sub_row),), view), sub_row, sub_col, torch.zeros(3))
    t, hit = trace(solid, rays, start.repeat_interleave(s * s))
    seen = hit.nonzero()[:, 0]
    dirs = rays.dirs[seen]
    x, y, z = (rays.origins[seen] + t[seen, None] * dirs).T.contiguous()
    premultiplied = torch.zeros(len(t), 4)
    premultiplied[seen, :3] = (reflection if solid.mirror else shade)(solid, x, y, z, dirs)
    premultiplied[seen, 3] = 1.0
    mean = premultiplied.view(len(row), s * s, 4).mean(1)
    straight = mean[:, :3] / mean[:, 3:].clamp_min(1e-6)
    return torch.cat([straight, mean[:, 3:]], -1).mul(255).round().to(torch.uint8)
