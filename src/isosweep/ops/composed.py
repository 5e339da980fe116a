"""Networks put together from PyTorch's layers and a backend's own kernels.

For backends without a fused kernel, and for the sizes and precisions that a fused kernel does not take.
"""

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from isosweep.ops.grid_spec import GridSpec
from isosweep.ops.softplus import softplus_with_slope

Layer = tuple[Tensor, Tensor]
"""A layer's weight [J, K] and bias [J]."""


def surface_network(
    kernels: ModuleType,
    u: Tensor,
    table: Tensor,
    spec: GridSpec,
    hidden: Layer,
    head: Layer,
    beta: float,
    want_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """``isosweep.ops.surface_network`` from the encoding kernels of a backend."""
    if want_gradient:
        y, jac = kernels.grid_encode_jacobian(u, table, spec)
    else:
        y, jac = kernels.grid_encode(u, table, spec), None
    h, slope = softplus_with_slope(F.linear(torch.cat([2 * u - 1, y], -1), *hidden), beta)
    out = F.linear(h, *head)
    if jac is None:
        return out, None
    g = (head[0][0] * slope) @ hidden[0]
    return out, 2 * g[:, :3] + kernels.pullback(jac, g[:, 3:].contiguous())


def mlp(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """``isosweep.ops.mlp`` in PyTorch."""
    for layer in layers[:-1]:
        x = torch.relu(F.linear(x, *layer))
    return F.linear(x, *layers[-1])
