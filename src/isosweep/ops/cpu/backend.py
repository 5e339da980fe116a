"""The numba kernels as differentiable functions of tensors: backend 'cpu'.

float32 and float64 (compiled when first met); results have the same bits at any number of threads.
Second derivatives are refused: the Jacobian is an output, so nothing here needs them.
"""

import logging
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from isosweep.ops import composed, opacity
from isosweep.ops.composed import Layer
from isosweep.ops.cpu import grid as cpu_grid
from isosweep.ops.cpu import networks as cpu_networks
from isosweep.ops.cpu import rays as cpu_rays
from isosweep.ops.cpu import softplus as cpu_softplus
from isosweep.ops.cpu.arrays import array, layout, order, scalar
from isosweep.ops.cpu.threads import run
from isosweep.ops.grid_spec import GridSpec
from isosweep.types import Samples

GRAIN = 2048
"""Points or rays below which another thread costs more than it saves."""

density_alpha = opacity.density_alpha
sample_points = opacity.sample_points
surface_sections = opacity.surface_sections


def grid_encode(u: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    """See ``isosweep.ops.grid_encode``."""
    return _Encode.apply(u, table, spec)


def grid_encode_jacobian(u: Tensor, table: Tensor, spec: GridSpec) -> tuple[Tensor, Tensor]:
    """See ``isosweep.ops.grid_encode_jacobian``."""
    return _EncodeJacobian.apply(u, table, spec)


def pullback(jac: Tensor, g: Tensor) -> Tensor:
    """See ``isosweep.ops.pullback``."""
    return _Pullback.apply(jac, g)


def softplus_backward(slope: Tensor, d_value: Tensor | None, d_slope: Tensor, beta: float) -> Tensor:
    out = torch.empty_like(slope, memory_format=torch.contiguous_format)
    value = slope.new_empty(0) if d_value is None else d_value
    arrays = [array(x).reshape(-1) for x in (slope, value, d_slope)]
    scalars = (d_value is not None, scalar(slope, beta))
    run(cpu_softplus.softplus_backward, out.numel(), 32 * GRAIN, *arrays, *scalars, out.numpy().reshape(-1))
    return out


def surface_network(
    u: Tensor, table: Tensor, spec: GridSpec, hidden: Layer, head: Layer, beta: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """See ``isosweep.ops.surface_network``."""
    sizes = (*hidden[0].shape, len(head[1]))
    if table.dtype == torch.float32 and max(sizes) <= cpu_networks.WIDEST:
        return cpu_networks.surface_network(u, table, spec, hidden, head, beta, want_gradient)
    module = sys.modules[__name__]
    return composed.surface_network(module, u, table, spec, hidden, head, beta, want_gradient)


def mlp(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """See ``isosweep.ops.mlp``."""
    if max(max(weight.shape) for weight, _ in layers) <= cpu_networks.WIDEST:
        return cpu_networks.mlp(x, layers)
    return composed.mlp(x, layers)


def render_weights(alpha: Tensor, offsets: Tensor) -> Tensor:
    """See ``isosweep.ops.render_weights``."""
    return _Weights.apply(alpha, offsets)


def accumulate(w: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    """See ``isosweep.ops.accumulate``."""
    return _Accumulate.apply(w, values, offsets)


def visible(alpha: Tensor, offsets: Tensor, threshold: float) -> Tensor:
    """See ``isosweep.ops.visible``."""
    rays = _rays(offsets, len(alpha))
    mask = torch.empty(len(alpha), dtype=torch.bool)
    run(cpu_rays.visible, len(rays) - 1, GRAIN, array(alpha), rays, scalar(alpha, threshold), mask.numpy())
    return mask


def march(
    origins: Tensor,
    dirs: Tensor,
    t_near: Tensor,
    t_far: Tensor,
    occupied: Tensor,
    radius: float,
    step: float | Tensor,
    jitter: Tensor,
    max_samples: int,
    cone: float = 0.0,
) -> Samples:
    """See ``isosweep.ops.march``."""
    grid = occupied.contiguous().view(torch.uint8).numpy()
    blocks = -(-len(grid) // cpu_rays.COARSE)
    coarse = np.empty((blocks,) * 3, np.uint8)
    run(cpu_rays.coarsen, blocks, 16, grid, coarse)
    n = len(origins)
    dtype = origins.dtype
    numbers = [scalar(origins, x) for x in (radius, len(grid) / (2.0 * radius), float(step), cone)]
    rays = [array(x.to(dtype)) for x in (origins, dirs, t_near, t_far, jitter)]
    count, start = torch.empty(2, n, dtype=torch.int64)
    offsets = torch.zeros(n + 1, dtype=torch.int64)

    def walk(fill: bool, ray_index: Tensor, t: Tensor, dt: Tensor) -> None:
        out = [x.numpy() for x in (count, start, offsets, ray_index, t, dt)]
        run(cpu_rays.march, n, 128, *rays, grid, coarse, *numbers, max_samples, fill, *out)

    walk(False, count[:0], origins.new_empty(0), origins.new_empty(0))
    torch.cumsum(count, 0, out=offsets[1:])
    total = int(offsets[-1])
    ray_index = torch.empty(total, dtype=torch.int64)
    t, dt = torch.empty(total, dtype=dtype), torch.empty(total, dtype=dtype)
    walk(True, ray_index, t, dt)
    return Samples(ray_index=ray_index, t=t, dt=dt, offsets=offsets)


class _Encode(Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
        ctx.save_for_backward(u)
        ctx.spec = spec
        y = torch.empty(len(u), spec.out_dim, dtype=u.dtype)
        run(cpu_grid.encode, len(u), GRAIN, array(u), array(table), *layout(spec), y.numpy())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[None, Tensor | None, None]:
        (u,) = ctx.saved_tensors
        return None, _scatter(u, dy, None, ctx.spec) if ctx.needs_input_grad[1] else None, None


class _EncodeJacobian(Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, table: Tensor, spec: GridSpec) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(u)
        ctx.spec = spec
        ctx.set_materialize_grads(False)
        y = torch.empty(len(u), spec.out_dim, dtype=u.dtype)
        jac = torch.empty(len(u), spec.out_dim, 3, dtype=u.dtype)
        tensors = (array(u), array(table))
        run(cpu_grid.encode_jacobian, len(u), GRAIN, *tensors, *layout(spec), y.numpy(), jac.numpy())
        return y, jac

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, djac: Tensor | None) -> tuple[None, Tensor | None, None]:
        (u,) = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1] and (dy is not None or djac is not None)
        return None, _scatter(u, dy, djac, ctx.spec) if wanted else None, None


def _scatter(u: Tensor, dy: Tensor | None, djac: Tensor | None, spec: GridSpec) -> Tensor:
    dtable = torch.zeros(spec.total, spec.n_features, dtype=u.dtype)
    no_dy, no_djac = u.new_empty(0, 0), u.new_empty(0, 0, 3)
    arrays = [array(x) for x in (u, no_dy if dy is None else dy, no_djac if djac is None else djac)]
    given = (dy is not None, djac is not None)
    if len(u):
        run(
            cpu_grid.scatter,
            spec.n_levels,
            1,
            *arrays,
            *given,
            order(spec),
            *layout(spec),
            dtable.numpy(),
            shares=1,
        )
    return dtable


class _Pullback(Function):
    @staticmethod
    def forward(ctx: Any, jac: Tensor, g: Tensor) -> Tensor:
        ctx.save_for_backward(jac, g)
        n = torch.empty(len(g), 3, dtype=g.dtype)
        run(cpu_grid.pull, len(g), GRAIN, array(jac), array(g), n.numpy())
        return n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dn: Tensor) -> tuple[Tensor | None, Tensor | None]:
        jac, g = ctx.saved_tensors
        with_jac, with_g = ctx.needs_input_grad
        djac = torch.empty(jac.shape if with_jac else (0, 0, 3), dtype=g.dtype)
        dg = torch.empty(g.shape if with_g else (0, 0), dtype=g.dtype)
        arrays = [array(x) for x in (jac, g, dn)]
        run(cpu_grid.pull_backward, len(g), GRAIN, *arrays, with_jac, with_g, djac.numpy(), dg.numpy())
        return djac if with_jac else None, dg if with_g else None


class _Weights(Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(alpha, offsets)
        rays = _rays(offsets, len(alpha))
        w = torch.empty(len(alpha), dtype=alpha.dtype)
        run(cpu_rays.weights, len(rays) - 1, GRAIN, array(alpha), rays, w.numpy())
        return w

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dw: Tensor) -> tuple[Tensor, None]:
        alpha, offsets = ctx.saved_tensors
        dalpha = torch.empty(len(alpha), dtype=alpha.dtype)
        arrays = (array(alpha), array(offsets), array(dw), dalpha.numpy())
        run(cpu_rays.weights_backward, len(offsets) - 1, GRAIN, *arrays)
        return dalpha, None


class _Accumulate(Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(w, values, offsets)
        rays = _rays(offsets, len(w))
        out = torch.empty(len(rays) - 1, values.shape[1], dtype=w.dtype)
        run(cpu_rays.accumulate, len(out), GRAIN, array(w), array(values), rays, out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        w, values, offsets = ctx.saved_tensors
        with_w, with_values = ctx.needs_input_grad[:2]
        dw = torch.empty(w.shape if with_w else (0,), dtype=w.dtype)
        dvalues = torch.empty(values.shape if with_values else (0, 0), dtype=w.dtype)
        arrays = [array(x) for x in (w, values, offsets, dout)]
        out = (with_w, with_values, dw.numpy(), dvalues.numpy())
        run(cpu_rays.accumulate_backward, len(offsets) - 1, GRAIN, *arrays, *out)
        return dw if with_w else None, dvalues if with_values else None, None


def _rays(offsets: Tensor, n_samples: int) -> np.ndarray:
    """Offsets, checked: kernels write where they point."""
    rays = array(offsets)
    if not (len(rays) and rays[0] == 0 and rays[-1] == n_samples and (rays[1:] >= rays[:-1]).all()):
        raise ValueError(
            f"offsets of packed samples must start at 0, never fall and end at {n_samples}, their number; "
            f"got {rays.tolist() if len(rays) <= 8 else [*rays[:4].tolist(), '...', *rays[-4:].tolist()]}"
        )
    return rays


@lru_cache(maxsize=1)
def warm_up() -> None:
    """Compile every kernel for float32, or load it from the cache on disk. Once a process."""
    log = logging.getLogger("isosweep")
    start = time.perf_counter()
    spec = GridSpec(n_levels=1, n_features=1, log2_size=3, base_resolution=2, per_level_scale=1.0)
    table, u = torch.zeros(spec.total, 1, requires_grad=True), torch.full((1, 3), 0.5)
    offsets = torch.tensor([0, 1])
    with torch.enable_grad():
        y = grid_encode(u, table, spec)
        if cpu_grid.encode.stats.cache_misses:
            log.info("compiling CPU kernels (first use, about 25 s)")
        _, jac = grid_encode_jacobian(u, table, spec)
        w = render_weights(y[:, 0], offsets)
        accumulate(w, pullback(jac, y), offsets).sum().backward()
        layers = [(table.new_ones(4, k, requires_grad=True), table.new_ones(4)) for k in (4, 4)]
        out, gradient = surface_network(u, table, spec, layers[0], layers[1], 1.0, True)
        assert gradient is not None
        (
            mlp(u, [(layers[0][0][:, :3], layers[0][1]), layers[1]]).sum() + out.sum() + gradient.sum()
        ).backward()
    softplus_backward(u, u, u, 1.0)
    visible(u[:, 0], offsets, 0.0)
    occupied = torch.ones(1, 1, 1, dtype=torch.bool)
    march(u, u, u[:, 0], u[:, 1], occupied, 1.0, 1.0, u[:, 0], 1)
    log.info("CPU kernels ready in %.1f s", time.perf_counter() - start)
