"""The numba kernels as differentiable functions of tensors: backend 'cpu'.

float32 and float64 (compiled when first met); results have the same bits at any number of threads.
Second derivatives are refused: the Jacobian is an output, so nothing here needs them.
"""

import logging
import time
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from isosweep.ops import cpu_grid, cpu_network, cpu_rays
from isosweep.ops.cpu_threads import run
from isosweep.ops.spec import GridSpec
from isosweep.types import Samples

GRAIN = 2048
"""Points or rays below which another thread costs more than it saves."""


def grid_encode(u: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    return _Encode.apply(u, table, spec)


def grid_encode_jacobian(u: Tensor, table: Tensor, spec: GridSpec) -> tuple[Tensor, Tensor]:
    return _EncodeJacobian.apply(u, table, spec)


def pullback(jac: Tensor, g: Tensor) -> Tensor:
    return _Pullback.apply(jac, g)


def softplus_backward(slope: Tensor, d_value: Tensor | None, d_slope: Tensor, beta: float) -> Tensor:
    out = torch.empty_like(slope, memory_format=torch.contiguous_format)
    value = slope.new_empty(0) if d_value is None else d_value
    arrays = [_array(x).reshape(-1) for x in (slope, value, d_slope)]
    scalars = (d_value is not None, _scalar(slope, beta))
    run(cpu_network.softplus_backward, out.numel(), 32 * GRAIN, *arrays, *scalars, out.numpy().reshape(-1))
    return out


def render_weights(alpha: Tensor, offsets: Tensor) -> Tensor:
    return _Weights.apply(alpha, offsets)


def accumulate(w: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    return _Accumulate.apply(w, values, offsets)


def visible(alpha: Tensor, offsets: Tensor, threshold: float) -> Tensor:
    rays = _rays(offsets, len(alpha))
    mask = torch.empty(len(alpha), dtype=torch.bool)
    run(cpu_rays.visible, len(rays) - 1, GRAIN, _array(alpha), rays, _scalar(alpha, threshold), mask.numpy())
    return mask


def march(
    origins: Tensor,
    dirs: Tensor,
    t_near: Tensor,
    t_far: Tensor,
    occupied: Tensor,
    radius: float,
    step: float,
    jitter: Tensor,
    max_samples: int,
    cone: float = 0.0,
) -> Samples:
    grid = occupied.contiguous().view(torch.uint8).numpy()
    blocks = -(-len(grid) // cpu_rays.COARSE)
    coarse = np.empty((blocks,) * 3, np.uint8)
    run(cpu_rays.coarsen, blocks, 16, grid, coarse)
    n = len(origins)
    dtype = origins.dtype
    numbers = [_scalar(origins, x) for x in (radius, len(grid) / (2.0 * radius), step, cone)]
    rays = [_array(x.to(dtype)) for x in (origins, dirs, t_near, t_far, jitter)]
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
        run(cpu_grid.encode, len(u), GRAIN, _array(u), _array(table), *_layout(spec), y.numpy())
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
        tensors = (_array(u), _array(table))
        run(cpu_grid.encode_jacobian, len(u), GRAIN, *tensors, *_layout(spec), y.numpy(), jac.numpy())
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
    arrays = [_array(x) for x in (u, no_dy if dy is None else dy, no_djac if djac is None else djac)]
    given = (dy is not None, djac is not None)
    if len(u):
        run(cpu_grid.scatter, spec.n_levels, 1, *arrays, *given, _order(spec), *_layout(spec), dtable.numpy())
    return dtable


class _Pullback(Function):
    @staticmethod
    def forward(ctx: Any, jac: Tensor, g: Tensor) -> Tensor:
        ctx.save_for_backward(jac, g)
        n = torch.empty(len(g), 3, dtype=g.dtype)
        run(cpu_grid.pull, len(g), GRAIN, _array(jac), _array(g), n.numpy())
        return n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dn: Tensor) -> tuple[Tensor | None, Tensor | None]:
        jac, g = ctx.saved_tensors
        with_jac, with_g = ctx.needs_input_grad
        djac = torch.empty(jac.shape if with_jac else (0, 0, 3), dtype=g.dtype)
        dg = torch.empty(g.shape if with_g else (0, 0), dtype=g.dtype)
        arrays = [_array(x) for x in (jac, g, dn)]
        run(cpu_grid.pull_backward, len(g), GRAIN, *arrays, with_jac, with_g, djac.numpy(), dg.numpy())
        return djac if with_jac else None, dg if with_g else None


class _Weights(Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(alpha, offsets)
        rays = _rays(offsets, len(alpha))
        w = torch.empty(len(alpha), dtype=alpha.dtype)
        run(cpu_rays.weights, len(rays) - 1, GRAIN, _array(alpha), rays, w.numpy())
        return w

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dw: Tensor) -> tuple[Tensor, None]:
        alpha, offsets = ctx.saved_tensors
        dalpha = torch.empty(len(alpha), dtype=alpha.dtype)
        arrays = (_array(alpha), _array(offsets), _array(dw), dalpha.numpy())
        run(cpu_rays.weights_backward, len(offsets) - 1, GRAIN, *arrays)
        return dalpha, None


class _Accumulate(Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(w, values, offsets)
        rays = _rays(offsets, len(w))
        out = torch.empty(len(rays) - 1, values.shape[1], dtype=w.dtype)
        run(cpu_rays.accumulate, len(out), GRAIN, _array(w), _array(values), rays, out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        w, values, offsets = ctx.saved_tensors
        with_w, with_values = ctx.needs_input_grad[:2]
        dw = torch.empty(w.shape if with_w else (0,), dtype=w.dtype)
        dvalues = torch.empty(values.shape if with_values else (0, 0), dtype=w.dtype)
        arrays = [_array(x) for x in (w, values, offsets, dout)]
        out = (with_w, with_values, dw.numpy(), dvalues.numpy())
        run(cpu_rays.accumulate_backward, len(offsets) - 1, GRAIN, *arrays, *out)
        return dw if with_w else None, dvalues if with_values else None, None


def _array(x: Tensor) -> np.ndarray:
    """The tensor's memory as a C-contiguous array, without a copy where it is one."""
    if x.device.type != "cpu":
        raise ValueError(
            f"backend 'cpu' is in use, but a tensor lies on '{x.device}': "
            "select the backend for the device, isosweep.ops.use('auto', device)"
        )
    if x.is_floating_point() and x.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"backend 'cpu' computes in float32 or float64, got {x.dtype}: convert it, or backend=torch"
        )
    return x.detach().contiguous().numpy()


def _scalar(like: Tensor, value: float) -> np.floating:
    return np.float64(value) if like.dtype == torch.float64 else np.float32(value)


def _rays(offsets: Tensor, n_samples: int) -> np.ndarray:
    """Offsets, checked: kernels write where they point."""
    rays = _array(offsets)
    if not (len(rays) and rays[0] == 0 and rays[-1] == n_samples and (rays[1:] >= rays[:-1]).all()):
        raise ValueError(
            f"offsets of packed samples must start at 0, never fall and end at {n_samples}, their number; "
            f"got {rays.tolist() if len(rays) <= 8 else [*rays[:4].tolist(), '...', *rays[-4:].tolist()]}"
        )
    return rays


@lru_cache(maxsize=16)
def _layout(spec: GridSpec) -> tuple[np.ndarray, ...]:
    """GridSpec's arrays in the kernels' types."""
    integers = (spec.resolution, spec.size, spec.offset)
    return (spec.scale, *(x.astype(np.uint32) for x in integers), spec.dense)


@lru_cache(maxsize=16)
def _order(spec: GridSpec) -> np.ndarray:
    """Levels from the largest to the smallest, so that dealing them out balances the threads."""
    return np.argsort(-spec.size, kind="stable")


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
            log.info("compiling CPU kernels (first use, about 10 s)")
        _, jac = grid_encode_jacobian(u, table, spec)
        w = render_weights(y[:, 0], offsets)
        accumulate(w, pullback(jac, y), offsets).sum().backward()
    softplus_backward(u, u, u, 1.0)
    visible(u[:, 0], offsets, 0.0)
    occupied = torch.ones(1, 1, 1, dtype=torch.bool)
    march(u, u, u[:, 0], u[:, 1], occupied, 1.0, 1.0, u[:, 0], 1)
    log.info("CPU kernels ready in %.1f s", time.perf_counter() - start)
