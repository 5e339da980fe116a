"""Stratified sections of equal length."""

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.samplers.base import Probe, Sampler, pack
from isosweep.types import Rays, Sampled


def stratified_edges(
    t_near: Float[Tensor, " r"],
    t_far: Float[Tensor, " r"],
    n: int,
    generator: torch.Generator | None,
) -> Float[Tensor, "r n1"]:
    """n + 1 sorted edges a ray from near to far; the inner ones jittered by up to half a section."""
    k = torch.arange(n + 1, device=t_near.device, dtype=t_near.dtype)
    place = (k / n).expand(len(t_near), -1).clone()
    if generator is not None and n > 1:
        shift = torch.rand(len(t_near), n - 1, generator=generator, device=t_near.device) - 0.5
        place[:, 1:-1] += shift / n
    return t_near[:, None] + (t_far - t_near).clamp_min(0.0)[:, None] * place


class Uniform(Sampler):
    """``n_samples`` sections of equal length between near and far (NeRF's coarse samples)."""

    def __init__(self, n_samples: int = 128) -> None:
        super().__init__()
        self.n_samples = n_samples

    def sample(
        self,
        rays: Rays,
        t_near: Float[Tensor, " r"],
        t_far: Float[Tensor, " r"],
        step: float,
        probe: Probe,
        generator: torch.Generator | None,
    ) -> Sampled:
        return Sampled(pack(stratified_edges(t_near, t_far, self.n_samples, generator), t_far > t_near))
