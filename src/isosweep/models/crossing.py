"""Where rays first meet a surface, from the distances at their samples.

Shapes: R rays, S packed samples. Nothing here depends on values in its shapes, so a card need not wait.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from isosweep.geometry import box_hit
from isosweep.types import Rays, Samples


@dataclass(frozen=True)
class Crossing:
    """The first place of each ray at which the distance falls through 0."""

    met: Bool[Tensor, " r"]
    """Whether there is one. The other values mean nothing where there is none."""
    t: Float[Tensor, " r"]
    """Distance along the ray, with a gradient to the distances at the two samples."""
    normal: Float[Tensor, "r 3"]
    """Unit, between the gradients at the two samples."""


def first_crossing(samples: Samples, sdf: Float[Tensor, " s"], grad: Float[Tensor, "s 3"]) -> Crossing:
    """t = (f_1 t_0 - f_0 t_1) / (f_1 - f_0) between the first two samples of a ray with f_0 > 0 >= f_1.

    Source: Fu et al. 2022 (Geo-NeuS), equations 9 and 10.
    """
    n_rays, n = len(samples.offsets) - 1, len(sdf)
    if n < 2:
        return Crossing(
            torch.zeros(n_rays, dtype=torch.bool, device=sdf.device),
            sdf.new_zeros(n_rays),
            sdf.new_zeros(n_rays, 3),
        )
    index, real = samples.ray_index, samples.dt > 0
    falls = (sdf[:-1] > 0) & (sdf[1:] <= 0) & (index[:-1] == index[1:]) & real[:-1] & real[1:]
    place = torch.where(falls, torch.arange(n - 1, device=sdf.device), n)
    first = torch.full((n_rays,), n, device=sdf.device).scatter_reduce(0, index[:-1].long(), place, "amin")
    met = first < n
    before = torch.where(met, first, 0)
    f0, f1 = sdf[before], sdf[before + 1]
    # where nothing is met the two may be equal; their difference counts as -1 there
    share = f0 / torch.where(met, f0 - f1, 1.0)
    t = samples.t[before] + share * (samples.t[before + 1] - samples.t[before])
    normal = grad[before] + share[:, None] * (grad[before + 1] - grad[before])
    return Crossing(met, t, F.normalize(normal, dim=-1))


def blocked(
    level: Callable[[Float[Tensor, "p 3"]], Float[Tensor, " p"]],
    origins: Float[Tensor, "n 3"],
    toward: Float[Tensor, "n 3"],
    radius: float,
    n_march: int,
) -> Bool[Tensor, " n"]:
    """Whether the level is below 0 at one of ``n_march`` places between each origin and the box's exit.

    Args:
        toward: directions of any length. What lies beyond the box blocks nothing.
    """
    dirs = F.normalize(toward, dim=-1)
    _, far = box_hit(Rays(origins, dirs, torch.zeros_like(origins)), radius)
    place = (torch.arange(n_march, device=origins.device) + 0.5) / n_march
    t = place * far.clamp_min(0.0)[:, None]
    points = origins[:, None] + t[..., None] * dirs[:, None]
    return (level(points.reshape(-1, 3)).view(len(origins), n_march) < 0).any(-1)
