"""The hash grid's kernels on tensors, without autograd: for the functions that have a backward of their own."""

from functools import lru_cache

import torch
from torch import Tensor

from isosweep.ops.grid_spec import GridSpec
from isosweep.ops.triton import grid as triton_grid
from isosweep.ops.triton.launch import checked, launch, power_of_two

POINTS = 256
"""Points of one program."""


def encode(u: Tensor, table: Tensor, spec: GridSpec, jacobian: bool, first: int = 0) -> tuple[Tensor, Tensor]:
    """Features and with ``jacobian`` their derivative; with first = 3 rows begin with the point in [-1, 1]^3."""
    u, table = checked(u), checked(table)
    y = u.new_empty(len(u), first + spec.out_dim)
    jac = u.new_empty(len(u) if jacobian else 0, spec.out_dim, 3)
    grid = (-(-len(u) // POINTS), spec.n_levels)
    launch(
        triton_grid.encode, grid, u, table, y, jac, *_layout(spec, u.device), len(u),
        **_sizes(spec), FIRST=first, JACOBIAN=jacobian, BLOCK=POINTS,
    )  # fmt: skip
    return y, jac


def scatter(
    u: Tensor,
    dy: Tensor | None,
    djac: Tensor | None,
    spec: GridSpec,
    dn: Tensor | None = None,
    first: int = 0,
) -> Tensor:
    """The gradient in the table. With ``dn`` [S, 3] ``djac`` is g [S, first + D], and the Jacobian's gradient g dn."""
    dtable = u.new_zeros(spec.total, spec.n_features)
    grid = (-(-len(u) // POINTS), spec.n_levels)
    u = checked(u)
    gradients = [u if x is None else checked(x) for x in (dy, djac, dn)]
    launch(
        triton_grid.scatter, grid, u, *gradients, dtable, *_layout(spec, u.device), len(u),
        **_sizes(spec), FIRST=first, WITH_Y=dy is not None, WITH_JACOBIAN=djac is not None,
        OUTER=dn is not None, BLOCK=POINTS,
    )  # fmt: skip
    return dtable


def _sizes(spec: GridSpec) -> dict[str, int]:
    return {"L": spec.n_levels, "F": spec.n_features, "FP": power_of_two(spec.n_features)}


@lru_cache(maxsize=16)
def _layout(spec: GridSpec, device: torch.device) -> tuple[Tensor, ...]:
    """GridSpec's arrays in the kernels' types: scale float32, resolution and size int32, offset int64."""
    arrays = (
        (spec.scale, torch.float32),
        (spec.resolution, torch.int32),
        (spec.size, torch.int32),
        (spec.offset, torch.int64),
        (spec.dense, torch.uint8),
    )
    return tuple(torch.as_tensor(a.copy()).to(device=device, dtype=dtype) for a, dtype in arrays)
