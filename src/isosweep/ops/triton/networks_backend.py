"""Networks as single functions of autograd: PyTorch's matrix products, and one Triton kernel for what lies between.

Put together from PyTorch's layers, a surface network takes some fifty launches forward and backward; here it takes 6
and 13. Everything but the table's gradient has the same bits in every run.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from isosweep.ops.composed import Layer
from isosweep.ops.grid_spec import GridSpec
from isosweep.ops.triton import grid as triton_grid
from isosweep.ops.triton import hidden as triton_hidden
from isosweep.ops.triton.grid_backend import encode, scatter
from isosweep.ops.triton.launch import checked, launch, numbers, power_of_two

TILE = 2048
"""Numbers of one program's tile of points and hidden units."""
PULLED = 64
"""Points of one program of the pullback, each with a row of features."""
POINT = 3
"""Features of the input before those of the grid."""


def surface_network(
    u: Tensor, table: Tensor, spec: GridSpec, hidden: Layer, head: Layer, beta: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """See ``isosweep.ops.surface_network``."""
    out, gradient = _SurfaceNetwork.apply(u, table, *hidden, *head, spec, beta, want_gradient)
    return out, gradient if want_gradient else None


class _SurfaceNetwork(Function):
    """x = [2 u - 1, grid(u)], a = W x + b, h = softplus(a), out = V h + c, g = (V[0] slope(a)) W, n = J^T g.

    ``once_differentiable`` and float32 or float64 throughout: autocast is off where this is called.
    """

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        table: Tensor,
        weight: Tensor,
        bias: Tensor,
        head: Tensor,
        head_bias: Tensor,
        spec: GridSpec,
        beta: float,
        want_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.spec, ctx.beta = spec, beta
        head = checked(head)
        x, jac = encode(u, table, spec, jacobian=want_gradient, first=POINT)
        h = torch.addmm(bias, x, weight.T)  # a, until the kernel below
        slope = torch.empty_like(h)
        g_hidden = torch.empty_like(h) if want_gradient else h
        launch(
            triton_hidden.activate, _programs(h), h, slope, g_hidden, head, _beta(h, beta), len(h),
            WITH_GRADIENT=want_gradient, **_tile(h),
        )  # fmt: skip
        out = torch.addmm(head_bias, h, head.T)
        if not want_gradient:
            ctx.save_for_backward(u, x, weight, head, h, slope)
            return out, u.new_empty(0, 3)
        g = g_hidden @ weight
        gradient = u.new_empty(len(u), 3)
        launch(triton_grid.pull, (-(-len(u) // PULLED),), jac, g, gradient, len(u), FIRST=POINT, **_row(spec))
        ctx.save_for_backward(u, x, weight, head, h, slope, jac, g_hidden, g)
        return out, gradient

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor | None, dn: Tensor | None) -> tuple[Tensor | None, ...]:
        u, x, weight, head, h, slope, *normals = ctx.saved_tensors
        spec, dn = ctx.spec, dn if normals else None
        if dout is None and dn is None:
            return (None,) * 9
        dweight = dg_hidden = g = dh = dhead_bias = None
        if dn is not None:
            jac, g_hidden, g = normals
            dn, dg = checked(dn), torch.empty_like(g)
            launch(
                triton_grid.pull_backward, (-(-len(u) // PULLED),), jac, g, dn, dn, dg, len(u),
                WITH_JACOBIAN=False, WITH_G=True, FIRST=POINT, **_row(spec),
            )  # fmt: skip
            dg_hidden, dweight = dg @ weight.T, g_hidden.T @ dg
        if dout is None:
            dhead = torch.zeros_like(head)
        else:
            dh, dhead, dhead_bias = dout @ head, dout.T @ h, dout.sum(0)
        programs = _programs(h)
        da, sums = torch.empty_like(h), h.new_empty(*programs, 2, h.shape[1])
        given = [slope if d is None else d for d in (dh, dg_hidden)]
        launch(
            triton_hidden.activate_backward, programs, slope, *given, head, _beta(h, ctx.beta), da, sums, len(h),
            WITH_VALUE=dh is not None, WITH_GRADIENT=dg_hidden is not None, **_tile(h),
        )  # fmt: skip
        if dg_hidden is None:
            dbias, dweight = sums[:, 0].sum(0), da.T @ x
        else:
            dbias, drow = sums.sum(0)
            dhead[0].add_(drow)
            assert dweight is not None
            dweight.addmm_(da.T, x)
        dtable = scatter(u, da @ weight, g, spec, dn, first=POINT) if ctx.needs_input_grad[1] else None
        return None, dtable, dweight, dbias, dhead, dhead_bias, None, None, None


def _programs(h: Tensor) -> tuple[int]:
    return (-(-len(h) // _tile(h)["BLOCK"]),)


def _tile(h: Tensor) -> dict[str, int]:
    width = power_of_two(h.shape[1])
    return {"H": h.shape[1], "HP": width, "BLOCK": max(1, TILE // width)}


def _row(spec: GridSpec) -> dict[str, int]:
    return {"D": spec.out_dim, "DP": power_of_two(spec.out_dim), "BLOCK": PULLED}


def _beta(h: Tensor, beta: float) -> Tensor:
    return numbers((beta, 1 / beta), h.dtype, h.device)
