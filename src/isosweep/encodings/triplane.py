"""Features on three planes: a point is projected onto xy, xz and yz, and each plane is interpolated bilinearly."""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep.bounds import Bound, Number, Width
from isosweep.encodings.base import Encoding
from isosweep.errors import InputError

AXES = ((0, 1), (0, 2), (1, 2))
"""Of the three planes."""
COMBINE = ("product", "sum")


class TriPlane(Encoding):
    """[2 u - 1, for each scale the product (or the sum) over the planes of their interpolated features].

    Sources: Fridovich-Keil et al. 2023, "K-Planes", equation 1, with products and several scales; Chan et al. 2022,
    EG3D, section 3.1, with sums. A plane of resolution n has n x n points, the outer ones on the border of [0, 1]^2.
    Points outside are moved to the border. Autograd makes the pullback.

    Args:
        resolutions: points a side of the planes, one number a scale, 2 or more.
        n_features: of each scale.
        combine: 'product' or 'sum'.
        init: the features start uniform between these two numbers (K-Planes: 0.1 and 0.5; with products, a start
            around 0 has hardly a gradient).
        include_xyz: the first three features are the point.

    Raises:
        InputError: no resolution, or one below 2; another way to combine; ``init`` is not two numbers in order.
    """

    def __init__(
        self,
        resolutions: Sequence[Annotated[int, Bound(least=2, most=16384)]] = (32, 64, 128),
        n_features: Width = 8,
        combine: str = "product",
        init: Sequence[Number] = (0.1, 0.5),
        include_xyz: bool = True,
    ) -> None:
        super().__init__()
        if not resolutions or min(resolutions) < 2:
            raise InputError(
                f"encoding.resolutions is a list of numbers of 2 or more, found {list(resolutions)}"
            )
        if combine not in COMBINE:
            raise InputError(f"encoding.combine is one of {', '.join(COMBINE)}, found {combine!r}")
        if len(init) != 2 or init[0] > init[1]:
            raise InputError(f"encoding.init is [lowest, highest], found {list(init)}")
        self.resolutions, self.combine, self.include_xyz = tuple(resolutions), combine, include_xyz
        self.out_dim = 3 * include_xyz + n_features * len(self.resolutions)
        rows = sum(3 * n * n for n in self.resolutions)
        self.table = nn.Parameter(torch.empty(rows, n_features).uniform_(float(init[0]), float(init[1])))

    def cell_size(self, step: int, max_steps: int) -> float:
        """Side of a cell of the finest planes, in units of u."""
        return 1 / (max(self.resolutions) - 1)

    def forward(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> Float[Tensor, "s d"]:
        """Features [S, D] of points u [S, 3] in [0, 1]^3, multiplied by ``window``."""
        parts, first = [2 * u - 1] if self.include_xyz else [], 0
        for n in self.resolutions:
            planes = []
            for axes in AXES:
                planes.append(_bilinear(self.table[first : first + n * n], n, u[:, axes]))
                first += n * n
            one, two, three = planes
            parts.append(one * two * three if self.combine == "product" else one + two + three)
        features = torch.cat(parts, dim=-1)
        return features if window is None else features * window


def _bilinear(plane: Float[Tensor, "n2 f"], n: int, place: Float[Tensor, "s 2"]) -> Float[Tensor, "s f"]:
    """A plane of n x n rows at places [S, 2] in [0, 1]^2; row i n + j is the point (i, j) / (n - 1)."""
    at = place.clamp(0, 1) * (n - 1)
    low = at.detach().floor().clamp(max=n - 2)
    (i, j), (a, b) = low.long().unbind(-1), (at - low)[..., None].unbind(1)
    row = i * n + j
    near = plane[row] * (1 - b) + plane[row + 1] * b
    far = plane[row + n] * (1 - b) + plane[row + n + 1] * b
    return near * (1 - a) + far * a
