"""What is composited from packed sections along rays.

Shapes: R rays, S packed samples.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep import ops
from isosweep.types import Samples


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
    # the gradient of a split is one operation; of slices it is three for each of them
    color, opacity, distance, *rest = sums.split([column.shape[1] for column in columns], dim=-1)
    opacity = opacity[:, 0]
    depth = distance[:, 0] / opacity.clamp_min(1e-6)
    normal = torch.nn.functional.normalize(rest[0], dim=-1) if rest else None
    return Composited(weights, color, opacity, depth, normal)


def closed_end(alpha: Float[Tensor, " s"], samples: Samples) -> Float[Tensor, " s"]:
    """The opacities [S], with 1 for the last section of each ray, as if that had no end.

    Source: the code of Mildenhall et al. 2020, whose last section has a length of 1e10.
    """
    last = samples.offsets[1:] - 1
    if samples.count is not None:  # the last ray owns the padding as well
        last = torch.cat([last[:-1], samples.count.reshape(1).to(last) - 1])
    # A ray without samples repeats the end of the ray before it; the first of all wraps to the last.
    return alpha.index_fill(0, last, 1.0) if len(alpha) else alpha


def density_level(density: Float[Tensor, " p"], surface_density: float) -> Float[Tensor, " p"]:
    """log(surface_density) - log(density) [P], without a unit: the level function of a model of volume density.

    It falls through 0 at the surface. It interpolates better than the density itself, which changes by orders of
    magnitude within a cell.

    Args:
        density: in 1 / normalised unit; values below 1e-6 count as 1e-6.
        surface_density: the density that is taken as the surface.
    """
    return math.log(surface_density) - torch.log(density.clamp_min(1e-6))
