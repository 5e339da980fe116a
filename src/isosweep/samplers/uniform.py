"""Stratified sections of equal length."""

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.errors import InputError
from isosweep.samplers.base import Length, Probe, Sampler, pack, uniform
from isosweep.types import Randomness, Rays, Sampled


def stratified_edges(
    t_near: Float[Tensor, " r"],
    t_far: Float[Tensor, " r"],
    n: int,
    generator: Randomness | None,
    spacing: str = "linear",
) -> Float[Tensor, "r n1"]:
    """n + 1 sorted edges a ray [R, n + 1] from near to far, normalised units; inner ones move by up to half a section.

    ``spacing`` 'linear' makes sections of equal length; 'disparity' makes them equal in 1 / t, so that most of
    them lie near the camera: 1 / t = (1 - x) / near + x / far with x even (Mildenhall et al. 2020, appendix C). It
    needs near > 0.
    """
    k = torch.arange(n + 1, device=t_near.device, dtype=t_near.dtype)
    place = (k / n).expand(len(t_near), -1).clone()
    if generator is not None and n > 1:
        shift = uniform(len(t_near), (n - 1,), generator, t_near.device) - 0.5
        place[:, 1:-1] += shift / n
    if spacing == "disparity":
        far = torch.maximum(t_far, t_near)[:, None]  # an empty interval is not sampled
        return 1 / ((1 - place) / t_near[:, None] + place / far)
    return t_near[:, None] + (t_far - t_near).clamp_min(0.0)[:, None] * place


SPACINGS = ("linear", "disparity")


def check_spacing(spacing: str) -> str:
    """``spacing`` itself; InputError where it is none of ``SPACINGS``."""
    if spacing not in SPACINGS:
        raise InputError(f"sampler.spacing is one of {', '.join(SPACINGS)}, found {spacing!r}")
    return spacing


class Uniform(Sampler):
    """``n_samples`` sections between near and far (NeRF's coarse samples).

    Args:
        n_samples: sections a ray.
        spacing: 'linear' or 'disparity' (``stratified_edges``).
        jitter: move edges at random in training; without it training sees the sections of evaluation.
    """

    def __init__(self, n_samples: int = 128, spacing: str = "linear", jitter: bool = True) -> None:
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
