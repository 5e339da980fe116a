"""Finite-difference gradient and Laplacian of a level function, six taps."""

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
    """Gradient and Laplacian of ``level`` from f(x +- eps e_k).

    Taps are clamped to the box [-radius, radius]^3, and the distances really spanned are used:
    gradient (f+ - f-)/(h+ + h-), second difference 2 [(f+ - f)/h+ - (f - f-)/h-]/(h+ + h-).
    Where a side spans nothing (a point on the face), that axis adds nothing to the Laplacian.

    Args:
        level: points [P, 3] to values [P].
        values: level(points), reused as the centre tap.
        eps: half the stencil, in the units of the points.
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
