"""Stratified sections of equal length."""

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.bounds import Count
from isosweep.samplers.base import Length, Probe, Sampler, pack, uniform
from isosweep.samplers.spacing import check_spacing, distances
from isosweep.types import Randomness, Rays, Sampled


def stratified_edges(
    t_near: Float[Tensor, " r"],
    t_far: Float[Tensor, " r"],
    n: int,
    generator: Randomness | None,
    spacing: str = "linear",
) -> Float[Tensor, "r n1"]:
    """n + 1 sorted edges a ray [R, n + 1] from near to far, normalised units; inner ones move by up to half a section.

    Places are even in [0, 1]; ``spacing`` says what distances they are (``spacing.distances``).
    """
    return distances(spacing, stratified_places(t_near, n, generator), t_near, t_far)


def stratified_places(
    t_near: Float[Tensor, " r"], n: int, generator: Randomness | None
) -> Float[Tensor, "r n1"]:
    """n + 1 sorted places a ray [R, n + 1] from 0 to 1, one row for each of ``t_near``.

    Inner ones move by up to half a section.
    """
    k = torch.arange(n + 1, device=t_near.device, dtype=t_near.dtype)
    place = (k / n).expand(len(t_near), -1).clone()
    if generator is not None and n > 1:
        shift = uniform(len(t_near), (n - 1,), generator, t_near.device) - 0.5
        place[:, 1:-1] += shift / n
    return place


class Uniform(Sampler):
    """``n_samples`` sections between near and far (NeRF's coarse samples).

    Args:
        n_samples: sections a ray.
        spacing: one of ``spacing.SPACINGS``.
        jitter: move edges at random in training; without it training sees the sections of evaluation.
    """

    def __init__(self, n_samples: Count = 128, spacing: str = "linear", jitter: bool = True) -> None:
        super().__init__()
        self.n_samples, self.spacing, self.jitter = n_samples, check_spacing(spacing), jitter

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
        edges = stratified_edges(t_near, t_far, self.n_samples, moved, self.spacing)
        return Sampled(pack(edges, t_far > t_near))
