"""Sphere tracing: where rays meet a solid of the demo.

Axes: R rays.
Source: Hart 1996, sphere tracing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isosweep.data.demo.scenes import Solid
from isosweep.geometry import sphere_hit
from isosweep.types import Rays

REACH = 0.82
"""Every solid lies inside this radius."""
NEAR = 1e-4
"""Distance to the surface that counts as a hit, normalised units; about 1% of a pixel's width there."""
_STEPS = 128


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run torch on one thread: for chunks as small as these, more threads are slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def trace(
    solid: Solid, rays: Rays, start: Float[Tensor, " r"], cone: float = 0.0
) -> tuple[Float[Tensor, " r"], Bool[Tensor, " r"]]:
    """Distance along each ray to the surface, and whether the ray meets it.

    Args:
        start: distance at which tracing begins; there is no surface before it.
        cone: radius of a cone around the ray, at distance 1. If it is above 0, tracing stops where the surface first
            touches the cone. That distance is a valid ``start`` for every ray in the cone.
    """
    far = sphere_hit(rays, REACH + 0.05)[1]
    t, hit = start.clone(), torch.zeros_like(start, dtype=torch.bool)
    alive = (far > start).nonzero()[:, 0]
    ox, oy, oz = rays.origins[alive].T.contiguous()
    dx, dy, dz = rays.dirs[alive].T.contiguous()
    at, end = start[alive], far[alive]
    limit = NEAR if cone == 0 else 0.5 * cone
    for _ in range(_STEPS):
        if len(at) == 0:
            break
        free = solid.sdf(ox + at * dx, oy + at * dy, oz + at * dz) - cone * at
        close = free < limit
        # a cone that touches the surface stops before the step: its rays may meet the surface within it
        at = torch.where(close, at, at + free) if cone else at + free
        keep = (~close & (at < end)).nonzero()[:, 0]
        if len(keep) < 0.9 * len(at):
            t[alive[close]], hit[alive[close]] = at[close], True
            alive, at, end = alive[keep], at[keep], end[keep]
            ox, oy, oz, dx, dy, dz = ox[keep], oy[keep], oz[keep], dx[keep], dy[keep], dz[keep]
        elif bool(close.any()):
            t[alive[close]], hit[alive[close]] = at[close], True
    return t, hit
