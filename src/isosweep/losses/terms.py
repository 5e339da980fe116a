"""Loss terms: plain functions of what was rendered and what was photographed, each one scalar.

Shapes: R rays, S packed samples. ``needs`` names the RenderOut fields and Batch fields a term
reads ('batch.mask', 'batch.points'), so that a config is checked before anything is loaded, and says what its mean is
taken over, so that the means of a batch's parts make the mean of the batch (total.py). A term with an
argument ``level`` reads its fields of that round of samples ('coarse', 'background') instead of the final one.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from isosweep.bounds import Positive
from isosweep.losses.counts import OVER, areas, on_object
from isosweep.samplers.spacing import warp
from isosweep.types import DISTANCE, Batch, Level, RenderOut, Samples

Term = Callable[..., Tensor]
_T = TypeVar("_T")


def needs(*fields: str, over: str = "rays", level: str | None = None) -> Callable[[Term], Term]:
    """Mark what a term reads, RenderOut fields and Batch fields as 'batch.<field>', and what it is the mean over.

    ``level`` is the level whose rays or samples count, of a term that has no argument ``level``.
    """
    assert over in OVER

    def mark(term: Term) -> Term:
        term.needs = frozenset(fields)  # pyright: ignore[reportFunctionMemberAccess]
        term.over = over  # pyright: ignore[reportFunctionMemberAccess]
        term.level = level  # pyright: ignore[reportFunctionMemberAccess]
        return term

    return mark


@needs("rgb")
def rgb_l1(out: RenderOut, batch: Batch, level: str | None = None) -> Tensor:
    """Mean |C - C*| over rays and channels, colours in [0, 1] (NeuS, Wang et al. 2021, equation 15)."""
    return (_rgb(out, level) - batch.rgb).abs().mean()


@needs("rgb", "batch.mask", over="masked rays")
def rgb_l1_masked(out: RenderOut, batch: Batch, level: str | None = None) -> Tensor:
    """``rgb_l1`` of the rays that the mask says meet the object; 0 where there are none.

    Source: the code of NeuS (Wang et al. 2021) with masks, where the other rays have the mask's term alone. There it is
    a sum over channels, three times this mean.
    """
    on = on_object(batch)
    error = (_rgb(out, level) - batch.rgb).abs().mean(-1)
    return (error * on).sum() / on.sum().clamp_min(1)


@needs("rgb")
def rgb_mse(out: RenderOut, batch: Batch, level: str | None = None) -> Tensor:
    """Mean (C - C*)^2 over rays and channels, colours in [0, 1] (NeRF, Mildenhall et al. 2020, equation 6)."""
    return F.mse_loss(_rgb(out, level), batch.rgb)


@needs("rgb", over="pixel area")
def rgb_mse_area(out: RenderOut, batch: Batch, level: str | None = None) -> Tensor:
    """Mean over rays and channels of (C - C*)^2, rays weighed by ``areas``: ``rgb_mse`` where all images have one size.

    Source: the multi-scale loss of mip-NeRF (Barron et al. 2021, section 4).
    """
    weight = areas(batch)
    return (weight * (_rgb(out, level) - batch.rgb).square().mean(-1)).sum() / weight.sum()


@needs("rgb")
def rgb_smooth_l1(out: RenderOut, batch: Batch, level: str | None = None) -> Tensor:
    """Mean of d^2 / 2 where |d| < 1, else |d| - 1/2, with d = C - C* (Huber 1964); over rays and channels.

    Colours differ by at most 1, so it is half of ``rgb_mse`` there. Used by nerfacc and instant-nsr-pl for NeRF.
    """
    return F.smooth_l1_loss(_rgb(out, level), batch.rgb)


@needs("sdf_grad", over="samples")
def eikonal(out: RenderOut, batch: Batch) -> Tensor:
    """Mean of (|grad f| - 1)^2 over samples; zero for a true distance field (Gropp et al. 2020, IGR, equation 2).

    Lengths are in normalised units, so the gradient has no unit. The norm counts as 1e-6 at least, because its
    slope at a zero gradient is infinite. 0 without samples.
    """
    return _Eikonal.apply(_required(out.sdf_grad), _real(out.samples), out.samples.count)  # pyright: ignore[reportReturnType]


class _Eikonal(torch.autograd.Function):
    """Mean of (|g| - 1)^2 with its gradient 2 (1 - 1 / |g|) g / S: a third of the kernels of the formula's own."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, real: Tensor | None, count: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        norm = torch.linalg.vector_norm(grad, dim=-1).clamp_min_(1e-6)
        off = norm - 1.0 if real is None else (norm - 1.0) * real
        ctx.count = max(1, len(off)) if count is None else count
        ctx.save_for_backward(grad, norm, off)
        return torch.dot(off, off) / ctx.count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad, norm, off = ctx.saved_tensors
        # Where the norm was raised to 1e-6, the value does not depend on the gradient, which is as good as zero.
        slope = torch.div(off, norm).mul_(d * (2 / ctx.count))
        return grad * slope[:, None], None, None


@needs("opacity", "batch.mask")
def mask(out: RenderOut, batch: Batch, level: str | None = None) -> Tensor:
    """Mean over rays of -(M log O + (1 - M) log(1 - O)) (NeuS, Wang et al. 2021, equation 17).

    O is the opacity, clamped to [1e-3, 1 - 1e-3], and M the mask's coverage, both in [0, 1].
    """
    opacity = _opacity(out, level).clamp(1e-3, 1 - 1e-3)
    return F.binary_cross_entropy(opacity, _required(batch.mask).clamp(0.0, 1.0))


@needs("opacity")
def opacity_entropy(out: RenderOut, batch: Batch, level: str | None = None) -> Tensor:
    """Mean over rays of -(O log O + (1 - O) log(1 - O)), opacity O clamped to [1e-3, 1 - 1e-3].

    It pushes rays to all or nothing. Source: 'opaque' of instant-nsr-pl; cf. Lombardi et al. 2019, Neural Volumes.
    """
    o = _opacity(out, level).clamp(1e-3, 1 - 1e-3)
    return -(o * o.log() + (1 - o) * (1 - o).log()).mean()


@needs("sdf", over="samples")
def sparsity(out: RenderOut, batch: Batch, scale: Positive = 1.0) -> Tensor:
    """Mean exp(-scale |f|) over samples: keeps the surface away from where nothing asks for it.

    Source: Long et al. 2022, SparseNeuS, equation 9.

    Args:
        scale: in 1 / normalised unit, as f is in normalised units.
    """
    return _sample_mean(torch.exp(-scale * _required(out.sdf).abs()), out.samples)


@needs("laplacian", over="samples")
def curvature(out: RenderOut, batch: Batch) -> Tensor:
    """Mean over samples of |laplace f|, in 1 / normalised unit.

    It is computed from second differences. Source: Neuralangelo, Li et al. 2023, equation 8.
    """
    return _sample_mean(_required(out.laplacian).abs(), out.samples)


@needs("laplacian", "detail", over="samples")
def curvature_by_level(out: RenderOut, batch: Batch) -> Tensor:
    """``curvature`` times the side of the finest active cell over that of the coarsest: growth^-(level - 1).

    As the cells get finer the term fades, so that the surface may have their detail. Source: Neuralangelo, Li et al.
    2023, section 3.3, and its code.
    """
    return curvature(out, batch) * _required(out.detail)


@needs("point_level", "batch.points", over="points")
def sfm(out: RenderOut, batch: Batch) -> Tensor:
    """Mean |f(p)|, in normalised units, over structure-from-motion points seen in the batch's views.

    Source: L_SDF of Geo-NeuS, Fu et al. 2022.

    The surface passes through what was triangulated; f is 0 there. 0 where no point lies in the box.
    """
    return _mean(_required(out.point_level).abs())


@needs("weights", "samples", "opacity", f"batch.ray_extras.{DISTANCE}", over="point rays")
def point_distance(out: RenderOut, batch: Batch) -> Tensor:
    """Mean over rays with a known distance d of sum_i w_i |t_i - d| / d + (1 - O), without a unit.

    This is what it costs to move the ray's weights to d (the Wasserstein distance of order 1 to a point mass), in units
    of d; light that leaves the box counts as moved by d. So space before a point that was triangulated is emptied, and
    the point becomes opaque. Rays to points supervise depth in DS-NeRF (Deng et al. 2022, section 3), by another
    distance between the two distributions. 0 where no ray has one.
    """
    distance, samples = batch.ray_extras[DISTANCE], out.samples
    known = distance > 0
    d = distance.clamp_min(1e-6)
    away = (samples.t - d[samples.ray_index]).abs() / d[samples.ray_index]
    moved = (1 - out.opacity).index_add(0, samples.ray_index, out.weights * away)
    return (moved * known).sum() / known.sum().clamp_min(1)


@needs("ray_extras.occlusion_error")
def occlusion(out: RenderOut, batch: Batch) -> Tensor:
    """Mean |s - s*| over rays: the learned probability that the reflected ray meets the surface, and whether it does.

    Source: L_occ of NeRO, Liu et al. 2023, section 3.2. The model takes the mean over the rays that it follows.
    """
    return _mean(out.ray_extras["occlusion_error"])


@needs("weights", "samples", over="hit rays")
def distortion(out: RenderOut, batch: Batch, level: str | None = None, spacing: str = "linear") -> Tensor:
    """``ray_distortion`` of the samples in the box, or of a level's (mip-NeRF 360, Barron et al. 2022, equation 15).

    Args:
        spacing: in which distances are measured (``samplers.spacing.warp``); the
            sampler's own where rays lead far away.
    """
    found = _at(out, level)
    return ray_distortion(found.weights, found.samples, spacing)


@needs("levels.background.weights", "levels.background.samples", over="hit rays", level="background")
def background_distortion(out: RenderOut, batch: Batch) -> Tensor:
    """``ray_distortion`` of the background's samples (mip-NeRF 360, Barron et al. 2022, equation 15)."""
    return distortion(out, batch, level="background")


def ray_distortion(
    weights: Float[Tensor, " s"], samples: Samples, spacing: str = "linear"
) -> Float[Tensor, ""]:
    """sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 d_i per ray, mean over hit rays (Barron et al. 2022, eq. 15).

    Mid-points m and lengths d are in the normalised distance s in [0, 1] between the ray's first and
    last sampled point, measured in ``spacing``, so the value does not grow with the extent of a background.
    Linear in the samples: sorted mid-points turn the double sum into two running sums.
    """
    n_rays = len(samples.offsets) - 1
    if len(weights) == 0 or n_rays == 0:
        return weights.sum()
    index, starts = samples.ray_index, samples.offsets[:-1]
    counts = samples.offsets.diff()
    first = starts.clamp(max=len(weights) - 1)
    last = (samples.offsets[1:] - 1).clamp_min(0)
    if spacing == "linear":
        centre, size = samples.t, samples.dt
    else:
        start, end = (warp(spacing, samples.t + side * samples.dt) for side in (-0.5, 0.5))
        centre, size = 0.5 * (start + end), end - start
    begin = (centre - 0.5 * size)[first]
    extent = ((centre + 0.5 * size)[last] - begin).clamp_min(1e-9)
    middle = (centre - begin[index]) / extent[index]
    length = size / extent[index]

    def before(values: Tensor) -> Tensor:
        """Sum over the earlier samples of the same ray; float64 keeps a long batch exact."""
        running = values.double().cumsum(0)
        exclusive = running - values
        return (exclusive - exclusive[first][index]).to(values.dtype)

    pairs = 2 * weights * (middle * before(weights) - before(weights * middle))
    own = weights.square() * length / 3
    per_ray = torch.zeros(n_rays, dtype=weights.dtype, device=weights.device)
    return per_ray.index_add(0, index, pairs + own).sum() / (counts > 0).sum().clamp_min(1)


def _at(out: RenderOut, level: str | None) -> RenderOut | Level:
    return out if level is None else out.levels[level]


def _rgb(out: RenderOut, level: str | None) -> Float[Tensor, "r 3"]:
    return _required(_at(out, level).rgb)


def _opacity(out: RenderOut, level: str | None) -> Float[Tensor, " r"]:
    return _required(_at(out, level).opacity)


def _real(samples: Samples) -> Float[Tensor, " s"] | None:
    """1 for samples and 0 for padding [S]; None where there is no padding."""
    if samples.count is None:
        return None
    place = torch.arange(len(samples), device=samples.t.device)
    return (place < samples.count).to(samples.t.dtype)


def _sample_mean(values: Tensor, samples: Samples) -> Tensor:
    """Mean over samples; padding does not count."""
    real = _real(samples)
    if real is None or samples.count is None:
        return _mean(values)
    return (values * real).sum() / samples.count


def _mean(values: Tensor) -> Tensor:
    return values.mean() if values.numel() else values.sum()


def _required(value: _T | None) -> _T:
    assert value is not None, "TotalLoss.check runs before training and names the missing field"
    return value
