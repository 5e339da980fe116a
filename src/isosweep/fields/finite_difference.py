"""Gradient and Laplacian of a level function by finite differences."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def taps(
    level: Callable[[Tensor], Tensor],
    points: Float[Tensor, "s 3"],
    values: Float[Tensor, " s"],
    eps: Float[Tensor, ""],
    radius: float,
) -> tuple[Float[Tensor, "s 3"], Float[Tensor, " s"]]:
    """Gradient [S, 3] and Laplacian [S] of ``level``, from its values at the six points x +- eps e_k.

    The six points (taps) are clamped to the box [-radius, radius]^3. With the distances h+ and h- that remain along an
    axis, and the values f+ and f- at their ends:
      gradient: (f+ - f-) / (h+ + h-),
      second derivative: 2 [(f+ - f) / h+ - (f - f-) / h-] / (h+ + h-); the Laplacian is the sum over the axes.
    For a point on a face of the box one distance is 0: that axis adds nothing to the Laplacian.
    Source: Neuralangelo (Li et al. 2023); the one-sided distances are ours.

    Args:
        level: points [P, 3] to values [P].
        points: normalised scene units, inside the box.
        values: level(points), used as f.
        eps: distance of a tap from its point, normalised scene units.
        radius: half the side of the box, normalised scene units.

    Returns: the gradient (values per normalised unit) and the Laplacian (values per squared unit).
    """
    axes = torch.eye(3, dtype=points.dtype, device=points.device)
    plus = (points[:, None] + eps * axes).clamp(-radius, radius)
    minus = (points[:, None] - eps * axes).clamp(-radius, radius)
    f_plus, f_minus = level(torch.cat([plus, minus]).reshape(-1, 3)).reshape(2, -1, 3)
    h_plus = (plus - points[:, None]).diagonal(dim1=1, dim2=2)
    h_minus = (points[:, None] - minus).diagonal(dim1=1, dim2=2)
    span = (h_plus + h_minus).clamp_min(1e-12)
    gradient = (f_plus - f_minus) / span
    centre = values[:, None]
    tiny = 1e-3 * eps
    inside = (h_plus > tiny) & (h_minus > tiny)
    second = 2 * ((f_plus - centre) / h_plus.clamp_min(tiny) - (centre - f_minus) / h_minus.clamp_min(tiny))
    return gradient, torch.where(inside, second / span, torch.zeros_like(second)).sum(-1)
