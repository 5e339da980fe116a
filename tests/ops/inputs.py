"""Grids and points that kernels get wrong first."""

import torch
from torch import Tensor

from isosweep.ops import GridSpec

SPECS = {
    "dense and hashed": GridSpec(6, 2, 10, 4, 1.6),
    "all dense": GridSpec(3, 2, 16, 5, 1.37),
    "everything collides": GridSpec(4, 2, 1, 3, 2.0),
    "one feature, no extent": GridSpec(2, 1, 14, 1, 2.0),
    "eight features": GridSpec(2, 8, 8, 7, 1.5),
    "fine": GridSpec(3, 2, 12, 512, 2.0),
}


def worst_points(spec: GridSpec, n: int = 150) -> Tensor:
    """Random points, the box's corners, cell borders, points outside, near and far. float64, but
    exact in float32 except for the random ones."""
    generator = torch.Generator().manual_seed(1)
    random = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    # u * scale + 0.5 is an integer here, as far as rounding lets it
    k = torch.arange(8, dtype=torch.float64)[:, None]
    borders = ((k - 0.5) / max(float(spec.scale[-1]), 1.0)).expand(-1, 3)
    outside = torch.tensor([[-0.01, 0.5, 0.5], [1.01, 1.01, 1.01], [-7.0, 9.0, 0.2], [1e6, -1e6, 0.3]])
    return torch.cat([random, corners, borders, outside.double()])
