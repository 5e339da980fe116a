"""The kernels in plain PyTorch: the definition that every other backend is tested against.

Any float dtype, any device, deterministic. Axes as in ``isosweep.ops``; C the 8 corners of a cell,
corner c = x + 2 y + 4 z.
"""

import sys
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from isosweep.ops import composed
from isosweep.ops.composed import Layer, mlp
from isosweep.ops.grid_spec import GridSpec
from isosweep.ops.opacity import density_alpha, sample_points, surface_sections
from isosweep.ops.softplus import softplus_backward
from isosweep.types import Samples

__all__ = [
    "accumulate",
    "density_alpha",
    "grid_encode",
    "grid_encode_jacobian",
    "march",
    "mlp",
    "pullback",
    "render_weights",
    "sample_points",
    "softplus_backward",
    "surface_network",
    "surface_sections",
    "visible",
]

PRIMES = (1, 2654435761, 805459861)
CELL_LIMIT = 2.0**30
"""Grid coordinates are clamped to this before they become integers: beyond it the cast is undefined."""
MAX_STEPS = 1 << 24
"""Beyond it float32 cannot count the steps of a ray."""
MIN_LENGTH = 1e-6
"""Of a direction: a shorter one goes nowhere, in a number of steps that has no bound."""
RAY_BLOCK = 1 << 20
"""Ray steps that ``march`` looks at together; bounds its memory."""


def grid_encode(u: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    """See ``isosweep.ops.grid_encode``."""
    corner, w, _ = _cells(u, table, spec)
    return (torch.stack(_corner_weights(w), -1)[..., None] * corner).sum(2).flatten(1)


def grid_encode_jacobian(u: Tensor, table: Tensor, spec: GridSpec) -> tuple[Tensor, Tensor]:
    """See ``isosweep.ops.grid_encode_jacobian``."""
    corner, w, scale = _cells(u, table, spec)
    y = (torch.stack(_corner_weights(w), -1)[..., None] * corner).sum(2)
    jac = []
    for k in range(3):
        slope = (torch.stack(_corner_weights(w, along=k), -1)[..., None] * corner).sum(2)
        jac.append(slope * scale[:, None])
    return y.flatten(1), torch.stack(jac, -1).flatten(1, 2)


def _cells(u: Tensor, table: Tensor, spec: GridSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Table rows at the corners [S, L, 8, F], position within the cell [S, L, 3], scale [L]."""
    scale, resolution, size, offset = _layout(spec, u.device)
    scale = scale.to(u.dtype)
    position = u[:, None] * scale[:, None] + 0.5
    cell = position.detach().floor()
    low = cell.nan_to_num(nan=-CELL_LIMIT).clamp(-CELL_LIMIT, CELL_LIMIT).long()
    x, y, z = (torch.stack((low[..., k], low[..., k] + 1), -1) & 0xFFFFFFFF for k in range(3))
    n = spec.dense.sum()  # dense levels come first
    # [S, L, z, y, x]: uint32 arithmetic in int64, whose low 32 bits agree
    stride = resolution[:n, None, None, None]
    rows = [
        x[:, :n, None, None, :] + y[:, :n, None, :, None] * stride + z[:, :n, :, None, None] * stride**2,
        x[:, n:, None, None, :]
        ^ (y[:, n:, None, :, None] * PRIMES[1])
        ^ (z[:, n:, :, None, None] * PRIMES[2]),
    ]
    row = torch.cat(rows, 1).flatten(2) & 0xFFFFFFFF
    return F.embedding(row % size[:, None] + offset[:, None], table), position - cell, scale


@lru_cache(maxsize=16)
def _layout(spec: GridSpec, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    arrays = (spec.scale, spec.resolution, spec.size, spec.offset)
    scale, resolution, size, offset = (torch.from_numpy(a).to(device) for a in arrays)
    return scale, resolution, size, offset


def _corner_weights(w: Tensor, along: int | None = None) -> list[Tensor]:
    """Trilinear weights of the 8 corners, or their derivative in the position's axis ``along``."""
    low, high = list((1 - w).unbind(-1)), list(w.unbind(-1))
    if along is not None:
        high[along] = torch.ones_like(w[..., 0])
        low[along] = -high[along]
    x, y, z = ((low[k], high[k]) for k in range(3))
    return [x[c & 1] * y[c >> 1 & 1] * z[c >> 2] for c in range(8)]


def pullback(jac: Tensor, g: Tensor) -> Tensor:
    """See ``isosweep.ops.pullback``."""
    return (jac * g[:, :, None]).sum(1)


def surface_network(
    u: Tensor, table: Tensor, spec: GridSpec, hidden: Layer, head: Layer, beta: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """See ``isosweep.ops.surface_network``."""
    module = sys.modules[__name__]
    return composed.surface_network(module, u, table, spec, hidden, head, beta, want_gradient)


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
    step = float(step)
    span = _span(origins, dirs, t_near, t_far, radius)
    stop = t_near + span
    cells = occupied.bool()
    n_steps = int((span.max() / step).clamp_max(MAX_STEPS).ceil()) + 1 if len(span) else 0
    # with a cone every ray goes through all steps together: a step depends on the one before
    block = max(1, len(stop) if cone else RAY_BLOCK // max(1, n_steps))
    found = []
    for rays in torch.arange(len(stop), device=stop.device).split(block):
        if cone:
            t, dt = _cone_steps(t_near[rays], stop[rays], jitter[rays], step, cone, n_steps)
        else:
            k = torch.arange(n_steps, device=stop.device, dtype=t_near.dtype)
            t = t_near[rays, None] + (k + jitter[rays, None]) * step
            dt = torch.full_like(t, step)
        x, y, z = (origins[rays, None, k] + t * dirs[rays, None, k] for k in range(3))
        keep = (t < t_far[rays, None]) & (span > 0)[rays, None] & _look_up(cells, x, y, z, radius)
        keep &= keep.cumsum(1) <= max_samples
        row, column = keep.nonzero(as_tuple=True)
        found.append((rays[row], t[row, column], dt[row, column], keep.sum(1)))
    none = torch.zeros(0, dtype=torch.int64, device=stop.device)
    ray_index, t, dt, count = (
        torch.cat(part) for part in zip(*found or [(none, stop, stop, none)], strict=True)
    )
    return Samples(ray_index=ray_index, t=t, dt=dt, offsets=F.pad(count.cumsum(0), (1, 0)))


def _span(origins: Tensor, dirs: Tensor, t_near: Tensor, t_far: Tensor, radius: float) -> Tensor:
    """Length from t_near beyond which a ray has no samples; 0 where it has none at all."""
    start = origins + t_near[:, None] * dirs
    length = dirs.norm(dim=-1)
    # this far past its start a ray has left any box of this radius for good
    span = torch.minimum(t_far - t_near, (start.norm(dim=-1) + 2.0 * radius) / length)
    good = (span > 0) & span.isfinite() & start.isfinite().all(-1) & (length > MIN_LENGTH)
    return torch.where(good, span, 0.0)


def _cone_steps(
    t_near: Tensor, stop: Tensor, jitter: Tensor, step: float, cone: float, n_steps: int
) -> tuple[Tensor, Tensor]:
    """Mid-points and lengths [R, K] of sections that grow with the distance."""
    begin, t, dt = t_near, [], []
    for _ in range(n_steps):
        length = (begin * cone).clamp_min(step)
        t.append(begin + jitter * length)
        dt.append(length)
        begin = begin + length
        if not bool((begin < stop).any()):  # also ends for rays that are NaN
            break
    return torch.stack(t, 1), torch.stack(dt, 1)


def _look_up(cells: Tensor, x: Tensor, y: Tensor, z: Tensor, radius: float) -> Tensor:
    """Whether points lie in the box and in an occupied cell."""
    n = len(cells)
    inside = (x.abs() <= radius) & (y.abs() <= radius) & (z.abs() <= radius)
    index = []
    for p in (x, y, z):
        scaled = (p + radius) * (n / (2.0 * radius))
        index.append(torch.where(inside, scaled, 0.0).long().clamp_max(n - 1))
    return inside & cells[index[2], index[1], index[0]]


def render_weights(alpha: Tensor, offsets: Tensor) -> Tensor:
    """See ``isosweep.ops.render_weights``."""
    return alpha * _transmittance(alpha, offsets)


def visible(alpha: Tensor, offsets: Tensor, threshold: float) -> Tensor:
    """See ``isosweep.ops.visible``."""
    return _transmittance(alpha.detach(), offsets) > threshold


def _transmittance(alpha: Tensor, offsets: Tensor) -> Tensor:
    """prod_{j < i in the ray} (1 - alpha_j), by a table of rays padded with ones."""
    count = offsets.diff()
    ray = torch.repeat_interleave(torch.arange(len(count), device=alpha.device), count)
    slot = torch.arange(len(alpha), device=alpha.device) - offsets[ray]
    longest = int(count.max()) if len(count) else 0
    passed = alpha.new_ones(len(count), longest + 1).index_put((ray, slot + 1), 1 - alpha)
    return passed.cumprod(1)[ray, slot]


def accumulate(w: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    """See ``isosweep.ops.accumulate``."""
    if not len(w):  # segment_reduce refuses zero rows; the sum keeps the graph
        return values.new_zeros(len(offsets) - 1, values.shape[1]) + (w[:, None] * values).sum(0)
    return torch.segment_reduce(w[:, None] * values, "sum", offsets=offsets, axis=0, initial=0)
