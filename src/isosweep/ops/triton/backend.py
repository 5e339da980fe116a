"""The Triton kernels as differentiable functions of tensors: backend 'cuda'.

float32 and float64. The table's gradient is summed by atomic additions, so it has the same bits only
to rounding from run to run; everything else is deterministic. Second derivatives are refused: the
Jacobian is an output, so nothing here needs them.

Positions are rounded as in the reference (no fused multiply-add), so that a point on a cell's border
falls on the same side. With TRITON_INTERPRET=1 the same kernels run on the CPU, very slowly.
"""

import logging
import time
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from isosweep.ops import composed, softplus
from isosweep.ops.grid_spec import GridSpec
from isosweep.ops.packed import is_sound, mark_sound
from isosweep.ops.triton import grid as triton_grid
from isosweep.ops.triton import rays as triton_rays
from isosweep.ops.triton.grid_backend import encode, scatter
from isosweep.ops.triton.launch import checked, interpreted, launch, numbers, power_of_two
from isosweep.ops.triton.networks_backend import PULLED, surface_network
from isosweep.ops.triton.section_backend import density_alpha, sample_points, surface_sections
from isosweep.types import Samples

__all__ = [
    "accumulate",
    "density_alpha",
    "grid_encode",
    "grid_encode_jacobian",
    "interpreted",
    "march",
    "mlp",
    "pullback",
    "render_weights",
    "sample_points",
    "softplus_backward",
    "surface_network",
    "surface_sections",
    "visible",
    "warm_up",
]

RAYS = 128
"""Rays of one program of the marching."""
CHUNK = 64
"""Samples of a ray that compositing scans at once."""

softplus_backward = softplus.softplus_backward
mlp = composed.mlp


def grid_encode(u: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    """See ``isosweep.ops.grid_encode``."""
    return _Encode.apply(u, table, spec)


def grid_encode_jacobian(u: Tensor, table: Tensor, spec: GridSpec) -> tuple[Tensor, Tensor]:
    """See ``isosweep.ops.grid_encode_jacobian``."""
    return _EncodeJacobian.apply(u, table, spec)


def pullback(jac: Tensor, g: Tensor) -> Tensor:
    """See ``isosweep.ops.pullback``."""
    return _Pullback.apply(jac, g)


def render_weights(alpha: Tensor, offsets: Tensor) -> Tensor:
    """See ``isosweep.ops.render_weights``."""
    return _Weights.apply(alpha, offsets)


def accumulate(w: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    """See ``isosweep.ops.accumulate``."""
    return _Accumulate.apply(w, values, offsets)


def visible(alpha: Tensor, offsets: Tensor, threshold: float) -> Tensor:
    """See ``isosweep.ops.visible``."""
    alpha, offsets = checked(alpha.detach()), _rays(offsets, len(alpha))
    mask = torch.empty(len(alpha), dtype=torch.bool, device=alpha.device)
    bar = numbers((threshold,), alpha.dtype, alpha.device)
    launch(
        triton_rays.weights, (len(offsets) - 1,), alpha, offsets, mask.view(torch.uint8), bar,
        VISIBLE=True, CHUNK=CHUNK,
    )  # fmt: skip
    return mask


@torch.no_grad()
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
    n, device, dtype = len(origins), origins.device, origins.dtype
    rays = [checked(x.to(dtype)) for x in (origins, dirs, t_near, t_far, jitter)]
    grid = occupied.contiguous().view(torch.uint8)
    cells = len(grid)
    bounds = numbers((radius, cells / (2.0 * radius), cone), dtype, device)
    length = step.detach().to(device, dtype) if isinstance(step, Tensor) else numbers((step,), dtype, device)
    count = torch.zeros(n, dtype=torch.int64, device=device)
    offsets = torch.zeros(n + 1, dtype=torch.int64, device=device)

    def walk(fill: bool, ray_index: Tensor, t: Tensor, dt: Tensor) -> None:
        launch(
            triton_rays.march, (-(-n // RAYS),), *rays, grid, count, offsets, ray_index, t, dt,
            n, cells, bounds, length, max_samples, FILL=fill, CONE=cone > 0, BLOCK=RAYS,
        )  # fmt: skip

    walk(False, count, bounds, bounds)
    torch.cumsum(count, 0, out=offsets[1:])
    total = int(offsets[-1])
    ray_index = torch.empty(total, dtype=torch.int64, device=device)
    t, dt = torch.empty(2, total, dtype=dtype, device=device)
    if total:
        walk(True, ray_index, t, dt)
    mark_sound(offsets, total)
    return Samples(ray_index=ray_index, t=t, dt=dt, offsets=offsets)


class _Encode(Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
        ctx.save_for_backward(u)
        ctx.spec = spec
        return encode(u, table, spec, jacobian=False)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[None, Tensor | None, None]:
        (u,) = ctx.saved_tensors
        return None, scatter(u, dy, None, ctx.spec) if ctx.needs_input_grad[1] else None, None


class _EncodeJacobian(Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, table: Tensor, spec: GridSpec) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(u)
        ctx.spec = spec
        ctx.set_materialize_grads(False)
        return encode(u, table, spec, jacobian=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, djac: Tensor | None) -> tuple[None, Tensor | None, None]:
        (u,) = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1] and (dy is not None or djac is not None)
        return None, scatter(u, dy, djac, ctx.spec) if wanted else None, None


class _Pullback(Function):
    @staticmethod
    def forward(ctx: Any, jac: Tensor, g: Tensor) -> Tensor:
        ctx.save_for_backward(jac, g)
        n = g.new_empty(len(g), 3)
        d = g.shape[1]
        launch(
            triton_grid.pull, (-(-len(g) // PULLED),), checked(jac), checked(g), n, len(g),
            FIRST=0, D=d, DP=power_of_two(d), BLOCK=PULLED,
        )  # fmt: skip
        return n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dn: Tensor) -> tuple[Tensor | None, Tensor | None]:
        jac, g = ctx.saved_tensors
        with_jac, with_g = ctx.needs_input_grad
        djac = jac.new_empty(jac.shape) if with_jac else None
        dg = g.new_empty(g.shape) if with_g else None
        d = g.shape[1]
        outputs = (dn if djac is None else djac, dn if dg is None else dg)
        launch(
            triton_grid.pull_backward, (-(-len(g) // PULLED),), checked(jac), checked(g), checked(dn),
            *outputs, len(g), WITH_JACOBIAN=with_jac, WITH_G=with_g, FIRST=0, D=d, DP=power_of_two(d), BLOCK=PULLED,
        )  # fmt: skip
        return djac, dg


class _Weights(Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(alpha, offsets)
        alpha, offsets = checked(alpha), _rays(offsets, len(alpha))
        w = torch.empty_like(alpha)
        grid = (len(offsets) - 1,)
        launch(triton_rays.weights, grid, alpha, offsets, w, alpha, VISIBLE=False, CHUNK=CHUNK)
        return w

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dw: Tensor) -> tuple[Tensor, None]:
        alpha, offsets = ctx.saved_tensors
        alpha, offsets = checked(alpha), offsets.contiguous()
        dalpha = torch.empty_like(alpha)
        grid = (len(offsets) - 1,)
        launch(triton_rays.weights_backward, grid, alpha, offsets, checked(dw), dalpha, CHUNK=CHUNK)
        return dalpha, None


class _Accumulate(Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(w, values, offsets)
        offsets = _rays(offsets, len(w))
        c = values.shape[1]
        out = values.new_empty(len(offsets) - 1, c)
        launch(
            triton_rays.accumulate, (len(out),), checked(w), checked(values), offsets, out,
            C=c, CP=power_of_two(c), CHUNK=CHUNK,
        )  # fmt: skip
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        w, values, offsets = ctx.saved_tensors
        with_w, with_values = ctx.needs_input_grad[:2]
        dw = w.new_empty(w.shape) if with_w else None
        dvalues = values.new_empty(values.shape) if with_values else None
        c = values.shape[1]
        outputs = (dout if dw is None else dw, dout if dvalues is None else dvalues)
        launch(
            triton_rays.accumulate_backward, (len(offsets) - 1,), checked(w), checked(values),
            offsets.contiguous(), checked(dout), *outputs,
            WITH_W=with_w, WITH_VALUES=with_values, C=c, CP=power_of_two(c), CHUNK=CHUNK,
        )  # fmt: skip
        return dw, dvalues, None


def _rays(offsets: Tensor, n_samples: int) -> Tensor:
    """Offsets, checked without waiting for the card: a kernel that pointed elsewhere would write there.

    Those that have been checked, or were made by ``march``, are not checked again: it takes seven launches.
    """
    if is_sound(offsets, n_samples):
        return offsets
    sound = (offsets[:1] == 0).all() & (offsets[-1:] == n_samples).all() & (offsets.diff() >= 0).all()
    if len(offsets) == 0:
        raise ValueError("offsets of packed samples have one entry more than rays, got none")
    if offsets.device.type == "cuda":
        torch._assert_async(sound)  # pyright: ignore[reportPrivateImportUsage]
    elif not sound:
        raise ValueError(
            f"offsets of packed samples must start at 0, never fall and end at {n_samples}, their number; "
            f"got {offsets.tolist()[:8]}"
        )
    mark_sound(offsets, n_samples)
    return offsets.contiguous()


@lru_cache(maxsize=1)
def warm_up() -> None:
    """Show that the kernels compile on this card before a run counts on them. Once a process.

    Other sizes compile when first met; Triton keeps all of them on disk.
    """
    start = time.perf_counter()
    spec = GridSpec(n_levels=2, n_features=2, log2_size=8, base_resolution=4, per_level_scale=2.0)
    device = torch.device("cpu" if interpreted() else "cuda")
    u = torch.rand(4, 3, device=device)
    table = torch.zeros(spec.total, 2, device=device, requires_grad=True)
    with torch.enable_grad():
        y, jac = grid_encode_jacobian(u, table, spec)
        offsets = torch.tensor([0, 4], device=device)
        w = render_weights(grid_encode(u, table, spec)[:, 0], offsets)
        accumulate(w, pullback(jac, y), offsets).sum().backward()
    logging.getLogger("isosweep").info("Triton works on this card (%.1f s)", time.perf_counter() - start)
