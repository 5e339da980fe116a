"""Importance sampling along rays: NeRF's coarse-to-fine, NeuS' up-sampling.

Shapes: R rays, N sections, N1 = N + 1 edges.
"""

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isosweep.bounds import Count, Positive, Whole
from isosweep.errors import InputError
from isosweep.ops.opacity import crossing_opacity
from isosweep.samplers.base import Length, PointFn, Probe, Sampler, pack, uniform
from isosweep.samplers.spacing import check_spacing
from isosweep.samplers.uniform import stratified_edges
from isosweep.types import Level, Randomness, Rays, Sampled


def invert_cdf(
    edges: Float[Tensor, "r n1"],
    weights: Float[Tensor, "r n"],
    n: int,
    generator: Randomness | None,
) -> Float[Tensor, "r m"]:
    """``n`` positions a ray [R, n], distributed as the piecewise-constant ``weights`` over ``edges``.

    Position k is F^-1((k + e_k) / n), with the distribution function F of weights + 1e-5 (so that no section is
    lost) and e_k uniform in [0, 1), or 1/2 without a generator. Source: Mildenhall et al. 2020, section 5.2, with
    stratified instead of independent draws, as in the official code.

    Args:
        edges: sorted distances [R, N + 1], normalised units.
        weights: [R, N], at least 0; they need not add up to 1.
    """
    k = torch.arange(n, device=edges.device, dtype=edges.dtype)
    if generator is None:
        shift = torch.full((len(edges), n), 0.5, device=edges.device)
    else:
        shift = uniform(len(edges), (n,), generator, edges.device)
    return quantiles(edges, weights, (k + shift) / n)


def quantiles(
    edges: Float[Tensor, "r n1"], weights: Float[Tensor, "r n"], share: Float[Tensor, "r m"]
) -> Float[Tensor, "r m"]:
    """The positions F^-1(share) [R, M], with the distribution function F of the piecewise-constant weights + 1e-5.

    Args:
        edges: sorted distances [R, N + 1], normalised units.
        weights: [R, N], at least 0; they need not add up to 1.
        share: in [0, 1].
    """
    pdf = weights + 1e-5
    cdf = torch.cat([torch.zeros_like(pdf[:, :1]), pdf.cumsum(-1)], dim=-1)
    cdf = cdf / cdf[:, -1:]
    u = share.clamp(max=1 - 1e-6)
    right = torch.searchsorted(cdf, u, right=True).clamp(1, edges.shape[1] - 1)
    lo, hi = cdf.gather(1, right - 1), cdf.gather(1, right)
    within = (u - lo) / (hi - lo).clamp_min(1e-9)
    left = edges.gather(1, right - 1)
    return left + within * (edges.gather(1, right) - left)


def _weights(alpha: Tensor) -> Tensor:
    ahead = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1]], dim=-1)
    return alpha * ahead.cumprod(-1)


def _evaluate(fn: PointFn, rays: Rays, t: Float[Tensor, "r n"]) -> Float[Tensor, "r n"]:
    points = rays.origins[:, None] + t[..., None] * rays.dirs[:, None]
    return fn(points.reshape(-1, 3)).reshape(t.shape)


def coarse_round(
    rays: Rays, edges: Float[Tensor, "r n1"], valid: Bool[Tensor, " r"], probe: Probe
) -> tuple[Float[Tensor, "r n"], dict[str, Level]]:
    """The weights of a first round without gradients, 0 for rays that are not ``valid``, and the level that it is.

    The model's coarse network renders the round, with gradients, where it has one. Else the model's density gives
    the weights, and there is no level.
    """
    n = edges.shape[1] - 1
    if probe.coarse is not None:
        level = probe.coarse(pack(edges, valid))
        weights = edges.new_zeros(len(edges), n)
        weights[valid] = level.weights.detach().reshape(-1, n)
        return weights, {"coarse": level}
    assert probe.density is not None, "checked by the model's constructor"
    with torch.no_grad():
        dt = edges.diff(dim=-1)
        density = _evaluate(probe.density, rays, edges[:, :-1] + 0.5 * dt)
        return _weights(-torch.expm1(-density * dt)), {}


class TwoPasses(Sampler):
    """Coarse sections, whose weights say where the sections of the final round are. A subclass draws these.

    A model with a coarse network (``Probe.coarse``) renders the coarse sections itself, with gradients: its weights
    place the fine sections, and its render is the level 'coarse'. Else the one network serves both passes, and
    its weights at the coarse sections are taken without gradients.
    """

    needs = "density"
    asks_for = frozenset({"coarse"})

    def __init__(self, n_coarse: int, spacing: str, jitter: bool) -> None:
        super().__init__()
        self.n_coarse, self.spacing, self.jitter = n_coarse, check_spacing(spacing), jitter

    @abstractmethod
    def _final(
        self, edges: Float[Tensor, "r n1"], weights: Float[Tensor, "r n"], generator: Randomness | None
    ) -> Float[Tensor, "r m1"]:
        """The sorted edges of the final round, from the edges and the weights of the coarse one."""

    def sample(
        self,
        rays: Rays,
        t_near: Float[Tensor, " r"],
        t_far: Float[Tensor, " r"],
        step: Length,
        probe: Probe,
        generator: Randomness | None,
    ) -> Sampled:
        moved = generator if self.jitter else None
        edges = stratified_edges(t_near, t_far, self.n_coarse, moved, self.spacing)
        valid = t_far > t_near
        weights, levels = coarse_round(rays, edges, valid, probe)
        return Sampled(pack(self._final(edges, weights, moved), valid), levels)


class Hierarchical(TwoPasses):
    """Coarse sections, then ``n_fine`` more where the coarse weights are (Mildenhall et al. 2020, 5.2).

    All sections together are returned.

    Args:
        n_coarse, n_fine: sections a ray of the first round, and added by the second.
        spacing: of the coarse sections, one of ``spacing.SPACINGS``.
        jitter: move coarse edges and fine positions at random in training.
    """

    def __init__(
        self, n_coarse: Count = 64, n_fine: Whole = 128, spacing: str = "linear", jitter: bool = True
    ) -> None:
        super().__init__(n_coarse, spacing, jitter)
        self.n_fine = n_fine

    def _final(
        self, edges: Float[Tensor, "r n1"], weights: Float[Tensor, "r n"], generator: Randomness | None
    ) -> Float[Tensor, "r m1"]:
        fine = invert_cdf(edges, weights, self.n_fine, generator)
        return torch.cat([edges, fine], dim=-1).sort(-1).values


PERTURBED = ("edges", "ray")


class UpSample(Sampler):
    """NeuS' up-sampling: rounds of importance sampling with the fixed sharpness 64 * 2^i in round i.

    The signed distance is interpolated within each section. Its weights w_i = T_i alpha_i place n_fine / rounds
    further edges per round. Source: Wang et al. 2021, supplement, hierarchical sampling.

    Args:
        n_coarse: sections a ray before the first round.
        n_fine: sections added by all rounds together; a multiple of ``rounds``.
        rounds: of up-sampling.
        sharpness: of the first round, 1 / normalised unit.
        perturb: what is random in training: 'edges', each inner edge and each new one for itself; or 'ray', one number
            a ray, which moves all inner edges by as much as half a section, and nothing else (the code of NeuS, which
            moves the ends as well).

    Raises:
        InputError: ``n_fine`` is no multiple of ``rounds``, or there is no such ``perturb``.
    """

    needs = "level"

    def __init__(
        self,
        n_coarse: Count = 64,
        n_fine: Count = 64,
        rounds: Count = 4,
        sharpness: Positive = 64.0,
        perturb: str = "edges",
    ) -> None:
        super().__init__()
        if perturb not in PERTURBED:
            raise InputError(f"sampler.perturb is one of {', '.join(PERTURBED)}, found {perturb!r}")
        self.perturb = perturb
        if n_fine % rounds:
            raise InputError(f"n_fine={n_fine} must be a multiple of rounds={rounds}")
        self.n_coarse, self.n_fine, self.rounds, self.sharpness = n_coarse, n_fine, rounds, sharpness

    @torch.no_grad()
    def sample(
        self,
        rays: Rays,
        t_near: Float[Tensor, " r"],
        t_far: Float[Tensor, " r"],
        step: Length,
        probe: Probe,
        generator: Randomness | None,
    ) -> Sampled:
        assert probe.level is not None, "checked by the model's constructor"
        if self.perturb == "edges" or generator is None:
            edges = stratified_edges(t_near, t_far, self.n_coarse, generator)
        else:
            edges, generator = self._shifted(t_near, t_far, generator), None
        level = _evaluate(probe.level, rays, edges)
        for i in range(self.rounds):
            weights = _weights(self._alpha(edges, level, self.sharpness * 2**i))
            new = invert_cdf(edges, weights, self.n_fine // self.rounds, generator)
            edges, order = torch.cat([edges, new], dim=-1).sort(-1)
            if i + 1 < self.rounds:
                level = torch.cat([level, _evaluate(probe.level, rays, new)], dim=-1).gather(-1, order)
        return Sampled(pack(edges, t_far > t_near))

    def _shifted(
        self, t_near: Float[Tensor, " r"], t_far: Float[Tensor, " r"], generator: Randomness
    ) -> Float[Tensor, "r n1"]:
        """Even edges, of which the inner ones of a ray are moved by one number in [-1/2, 1/2) sections."""
        edges = stratified_edges(t_near, t_far, self.n_coarse, None)
        section = (t_far - t_near).clamp_min(0.0) / self.n_coarse
        shift = (uniform(len(t_near), (), generator, t_near.device) - 0.5) * section
        return torch.cat([edges[:, :1], edges[:, 1:-1] + shift[:, None], edges[:, -1:]], dim=-1)

    @staticmethod
    def _alpha(edges: Tensor, level: Tensor, sharpness: float) -> Tensor:
        """Opacity of each section from the slope of the distance along it, clamped to be falling."""
        dt = edges.diff(dim=-1)
        cos = level.diff(dim=-1) / dt.clamp_min(1e-5)
        before = torch.cat([torch.zeros_like(cos[:, :1]), cos[:, :-1]], dim=-1)
        cos = torch.minimum(before, cos).clamp(-1e3, 0.0)
        middle = 0.5 * (level[:, 1:] + level[:, :-1])
        half = 0.5 * cos * dt
        return crossing_opacity(middle - half, middle + half, sharpness)
