"""The fused numba networks as differentiable functions of tensors: backend 'cpu'."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from isosweep.ops.composed import Layer
from isosweep.ops.cpu import mlp as cpu_mlp
from isosweep.ops.cpu import surface as cpu_surface
from isosweep.ops.cpu.arrays import array, layout, order
from isosweep.ops.cpu.grid import B
from isosweep.ops.cpu.matrix import padded
from isosweep.ops.cpu.threads import run
from isosweep.ops.grid_spec import GridSpec

GRAIN = 8
"""Blocks of points below which another thread costs more than it saves."""
PIECES = 16
"""Shares of the weight gradients' sums, each of one order: the most threads that a backward can use."""
WIDEST = 128
"""Layers beyond this leave the first-level cache, and the library's products are the faster ones."""


def surface_network(
    u: Tensor, table: Tensor, spec: GridSpec, hidden: Layer, head: Layer, beta: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """See ``isosweep.ops.surface_network``."""
    inputs = (table, *hidden, *head)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    out, gradient = _SurfaceNetwork.apply(u, *inputs, spec, beta, want_gradient, keep)
    return out, gradient if want_gradient else None


def mlp(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """See ``isosweep.ops.mlp``."""
    flat = [tensor for layer in layers for tensor in layer]
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *flat))
    return _Mlp.apply(x, keep, *flat)


class _SurfaceNetwork(Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        table: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
        spec: GridSpec,
        beta: float,
        want_gradient: bool,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:
        count, blocks, d = len(u), -(-len(u) // B), spec.out_dim
        first, bias1 = _pad(w1, b1)
        second, bias2 = _pad(w2, b2)
        width = len(first)
        kept_blocks = blocks if keep else 0
        with_gradient = kept_blocks if want_gradient else 0
        y, jac = _empty(kept_blocks, d, B), _empty(with_gradient, d, 3, B)
        g, h = _empty(with_gradient, d, B), _empty(kept_blocks, width, B)
        out = torch.empty(count, len(w2))
        gradient = torch.empty(count if want_gradient else 0, 3)
        run(
            cpu_surface.forward, blocks, GRAIN, array(u), array(table), *layout(spec),
            first, _transposed(first), bias1, second, bias2, np.float32(beta), want_gradient, keep,
            out.numpy(), gradient.numpy(), y, jac, g, h,
        )  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(u)
        ctx.sizes = (spec, w1.shape, w2.shape, beta)
        ctx.kept = (first, second, y, jac, g, h)
        if not want_gradient:
            ctx.mark_non_differentiable(gradient)
        return out, gradient

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor | None, d_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        (u,) = ctx.saved_tensors
        spec, shape1, shape2, beta = ctx.sizes
        first, second, y, jac, g, h = ctx.kept
        nothing = (None,) * 10
        if d_out is None and d_gradient is None:
            return nothing
        d_value = u.new_zeros(len(u), shape2[0]) if d_out is None else d_out
        with_gradient = d_gradient is not None
        d_normal = u.new_empty(0, 3) if d_gradient is None else d_gradient
        blocks, d = y.shape[:2]
        with_table = ctx.needs_input_grad[1]
        pieces = min(PIECES, max(blocks, 1))
        d_first, d_bias1 = _empty(pieces, *first.shape), _empty(pieces, len(first))
        d_second, d_bias2 = _empty(pieces, *second.shape), _empty(pieces, len(second))
        d_y = _empty(blocks if with_table else 0, d, B)
        d_n = _empty(blocks if with_gradient else 0, 3, B)
        run(
            cpu_surface.backward, pieces, 1, array(u), first, _transposed(first), second, _transposed(second),
            np.float32(beta), array(d_value), with_gradient, array(d_normal), y, jac, h, with_table,
            d_first, d_bias1, d_second, d_bias2, d_y, d_n,
        )  # fmt: skip
        d_table = None
        if with_table:
            d_table = u.new_zeros(spec.total, spec.n_features)
            arrays = (array(u), d_y, g, d_n, with_gradient, order(spec), *layout(spec), d_table.numpy())
            run(cpu_surface.scatter, spec.n_levels, 1, *arrays)
        rows1, columns1 = shape1
        rows2, columns2 = shape2
        d_w1, d_b1 = d_first.sum(0)[:rows1, :columns1], d_bias1.sum(0)[:rows1]
        d_w2, d_b2 = d_second.sum(0)[:rows2, :columns2], d_bias2.sum(0)[:rows2]
        weights = (torch.from_numpy(np.ascontiguousarray(x)) for x in (d_w1, d_b1, d_w2, d_b2))
        return None, d_table, *weights, None, None, None, None


class _Mlp(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: bool, *layers: Tensor) -> Tensor:
        weights, biases = zip(
            *(_pad(w, b) for w, b in zip(layers[::2], layers[1::2], strict=True)), strict=True
        )
        widths = np.array([weights[0].shape[1], *(len(w) for w in weights)])
        blocks = -(-len(x) // B)
        kept = torch.empty(blocks if keep else 0, int(widths[1:-1].sum()), B, dtype=x.dtype).numpy()
        out = torch.empty(len(x), len(layers[-1]), dtype=x.dtype)
        flat = np.concatenate([w.ravel() for w in weights]), np.concatenate(biases)
        run(cpu_mlp.forward, blocks, GRAIN, array(x), *flat, widths, keep, out.numpy(), kept)
        ctx.save_for_backward(x)
        ctx.kept = (weights, widths, kept, [tuple(t.shape) for t in layers])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        weights, widths, kept, shapes = ctx.kept
        pieces = min(PIECES, max(len(kept), 1))
        weights_t = np.concatenate([w.T.ravel() for w in weights])
        d_weights = np.empty((pieces, len(weights_t)), weights_t.dtype)
        d_biases = np.empty((pieces, int(widths[1:].sum())), weights_t.dtype)
        with_x = ctx.needs_input_grad[0]
        d_x = torch.empty(x.shape if with_x else (0, 0), dtype=x.dtype)
        inputs = (array(x), weights_t, widths, kept, array(d_out), with_x)
        run(cpu_mlp.backward, pieces, 1, *inputs, d_weights, d_biases, d_x.numpy())
        flat, flat_bias = d_weights.sum(0), d_biases.sum(0)
        grads: list[Tensor] = []
        at = bias_at = 0
        for w, (j, k) in zip(weights, shapes[::2], strict=True):
            d_w = flat[at : at + w.size].reshape(w.shape)[:j, :k]
            grads.append(torch.from_numpy(np.ascontiguousarray(d_w)))
            grads.append(torch.from_numpy(flat_bias[bias_at : bias_at + j]))
            at, bias_at = at + w.size, bias_at + len(w)
        return d_x if with_x else None, None, *grads


def _pad(weight: Tensor, bias: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """A layer, its sizes filled up with zeros to multiples of the products' tile."""
    w, b = array(weight), array(bias)
    j, k = w.shape
    if j % 4 == 0 and k % 4 == 0:
        return w, b
    big, long = np.zeros((padded(j), padded(k)), w.dtype), np.zeros(padded(j), w.dtype)
    big[:j, :k], long[:j] = w, b
    return big, long


def _transposed(matrix: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(matrix.T)


def _empty(*shape: int) -> np.ndarray:
    return torch.empty(shape).numpy()
