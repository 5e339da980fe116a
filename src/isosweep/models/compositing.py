"""Packed sections along rays: their mid-points, and what is composited from them.

Shapes: R rays, S packed samples.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep import ops
from isosweep.types import Rays, Samples


@dataclass(frozen=True)
class Composited:
    """Sums along rays of weight times value, front to back; lengths in normalised units."""

    weights: Float[Tensor, " s"]
    rgb: Float[Tensor, "r 3"]
    """Without background."""
    opacity: Float[Tensor, " r"]
    depth: Float[Tensor, " r"]
    """Weighted mean distance over the opacity, 0 where nothing is met."""
    normal: Float[Tensor, "r 3"] | None


def sample_points(rays: Rays, samples: Samples) -> tuple[Float[Tensor, "s 3"], Float[Tensor, "s 3"]]:
    """Mid-points o + t d [S, 3] of the sections in normalised units, and their rays' unit directions [S, 3]."""
    dirs = rays.dirs[samples.ray_index]
    return torch.addcmul(rays.origins[samples.ray_index], samples.t[:, None], dirs), dirs


def density_alpha(density: Float[Tensor, " s"], samples: Samples) -> Float[Tensor, " s"]:
    """Opacity [S] in [0, 1] of sections of constant density: 1 - exp(-sigma dt) (Mildenhall et al. 2020, equation 3).

    Args:
        density: sigma >= 0, in 1 / normalised unit.
    """
    return -torch.expm1(-density * samples.dt)


def composite(
    samples: Samples,
    alpha: Float[Tensor, " s"],
    rgb: Float[Tensor, "s 3"],
    normals: Float[Tensor, "s 3"] | None = None,
) -> Composited:
    """w_i = alpha_i prod_{j<i} (1 - alpha_j), and the sums of w_i c_i (Mildenhall et al. 2020, equation 3).

    Args:
        alpha: opacity [S] in [0, 1] of each section.
        rgb: radiance [S, 3] in [0, 1].
        normals: [S, 3], unit; their weighted sum is made unit again.
    """
    weights = ops.render_weights(alpha.contiguous(), samples.offsets)
    columns = [rgb, torch.ones_like(samples.t)[:, None], samples.t[:, None]]
    if normals is not None:
        columns.append(normals)
    sums = ops.accumulate(weights, torch.cat(columns, dim=-1), samples.offsets)
    opacity = sums[:, 3]
    depth = sums[:, 4] / opacity.clamp_min(1e-6)
    normal = None if normals is None else torch.nn.functional.normalize(sums[:, 5:8], dim=-1)
    return Composited(weights, sums[:, :3], opacity, depth, normal)
