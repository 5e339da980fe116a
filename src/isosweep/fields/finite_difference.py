"""Gradient and Laplacian of a level function by finite differences."""

import math
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


CORNERS = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))
"""Four corners k of a cube, those of a tetrahedron: sum k = 0, and sum k k^T = 4 times the identity."""


def four_taps(
    level: Callable[[Tensor], Tensor],
    points: Float[Tensor, "s 3"],
    values: Float[Tensor, " s"],
    eps: Float[Tensor, ""],
    radius: float,
) -> tuple[Float[Tensor, "s 3"], Float[Tensor, " s"]]:
    """Gradient [S, 3] and Laplacian [S] of ``level``, from its values at four points x + e k, e = eps / sqrt(3).

    The corners k are those of a tetrahedron, so each tap lies at the distance eps:
      gradient: sum_k k f(x + e k) / (4 e);
      Laplacian: (sum_k f(x + e k) - 4 f(x)) / (2 e^2), in which mixed derivatives cancel.
    A point nearer to a face of the box than e is moved away from it for the gradient, and has a Laplacian of 0.
    Source: the code of Neuralangelo (Li et al. 2023), whose default it is; two evaluations fewer than ``taps``. What is
    done at the faces is ours.

    Args and returns: as of ``taps``.
    """
    corners = points.new_tensor(CORNERS)
    e = eps / math.sqrt(3.0)
    middle = points.clamp(min=-radius + e, max=radius - e)
    found = level((middle[:, None] + e * corners).reshape(-1, 3)).reshape(-1, 4)
    gradient = found @ corners / (4 * e)
    laplacian = (found.sum(-1) - 4 * values) / (2 * e.square())
    inside = (middle == points).all(-1)
    return gradient, torch.where(inside, laplacian, torch.zeros_like(laplacian))
