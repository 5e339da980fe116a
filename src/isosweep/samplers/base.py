"""What a sampler is, and what it may ask of a model.

Shapes: R rays, S packed samples, P points. Distances along rays are in normalised units.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from isosweep import ops
from isosweep.types import Level, Randomness, Rays, Sampled, Samples

Length = float | Float[Tensor, ""]
"""A number, or one that a card has computed and that is not read back."""
PointFn = Callable[[Tensor], Tensor]
OccupancyFn = Callable[[Tensor, float], Tensor]
"""(points [P, 3], side of the cell that each point stands for) -> opacity of a section there [P]."""


RoundFn = Callable[[Samples], Level]
"""Samples of a first round -> what a network of the model's renders there, with gradients."""


@dataclass(frozen=True)
class SamplerKnobs:
    """What of a sampler depends on the step. A sampler that has such things makes a class of its own of it."""


@dataclass(frozen=True)
class Probe:
    """The callables through which a sampler sees a field. Points are in normalised units.

    ``density``: points [P, 3] -> volume density [P] in 1 / normalised unit; None for a surface model.
    ``level``: points [P, 3] -> signed distance [P] in normalised units; None for a density model.
    ``coarse``: the model's own coarse pass, rendered at samples with gradients; None where it has none.
    ``unit``: points [P, 3] -> the coordinates [P, 3] in [0, 1] of an encoding, for fields that a sampler has itself.
    ``closed``: whether the last section of a ray lets no light through, whatever the density there.
    ``knobs``: what the sampler's own ``knobs`` returned for the step; None for a sampler without any.
    """

    density: PointFn | None = None
    level: PointFn | None = None
    coarse: RoundFn | None = None
    unit: PointFn | None = None
    closed: bool = False
    knobs: SamplerKnobs | None = None


class Sampler(nn.Module, ABC):
    """Chooses where along each ray the field is evaluated."""

    needs: str | None = None
    """'density' or 'level': the probe without which this sampler cannot work."""
    asks_for: frozenset[str] = frozenset()
    """Rounds that it lets the model render where the model has such a network ('coarse'), and returns as levels."""
    levels: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Rounds that it makes itself and returns as levels, with the fields that they have."""
    in_box: ClassVar[bool] = False
    """Whether it knows a box alone, and no interval that leads out of it."""

    def knobs(self, step: int, max_steps: int) -> SamplerKnobs | None:
        """What of the sampler depends on the step; the model hands it back in the probe. Nothing by default."""
        return None

    @abstractmethod
    def sample(
        self,
        rays: Rays,
        t_near: Float[Tensor, " r"],
        t_far: Float[Tensor, " r"],
        step: Length,
        probe: Probe,
        generator: Randomness | None,
    ) -> Sampled:
        """Packed samples in [t_near, t_far] of each ray, none where t_far <= t_near.

        Args:
            t_near, t_far: distances [R] along the rays, normalised units.
            step: length of a section for samplers that march, normalised units.
            probe: the model's field.
            generator: of the random offsets; None places samples as in evaluation, always the same.
        """

    def update(self, step: int, occupancy: OccupancyFn, generator: torch.Generator, samples: int = 0) -> None:
        """Refresh what the sampler remembers of the field; nothing by default.

        Args:
            step: of the training.
            occupancy: opacity of a section at points, see ``OccupancyFn``.
            generator: of the points at which it is probed.
            samples: that each training step aims at, to which the cost of this is bound; 0: no bound.
        """
        return


def uniform(
    n: int, shape: tuple[int, ...], generator: Randomness, device: torch.device
) -> Float[Tensor, "r *s"]:
    """Random numbers [R, *shape] in [0, 1) for ``n`` rays. Every draw for rays is made here.

    Of rows of a joined batch, they are those that the rows have when the batch is drawn for at once.
    """
    if isinstance(generator, torch.Generator):
        return torch.rand(n, *shape, generator=generator, device=device)
    whole = torch.rand(generator.total, *shape, generator=generator.generator, device=device)
    return whole[generator.first : generator.first + n]


def jitter(n: int, generator: Randomness | None, device: torch.device) -> Float[Tensor, " r"]:
    """One offset [R] a ray, in units of a section: random in [0, 1), or 0.5 for evaluation."""
    if generator is None:
        return torch.full((n,), 0.5, device=device)
    return uniform(n, (), generator, device)


def pack(edges: Float[Tensor, "r n1"], valid: Tensor) -> Samples:
    """Packed samples, one for each section between neighbouring ``edges``: t is its middle, dt its length.

    Args:
        edges: sorted distances [R, N + 1] along the rays, normalised units.
        valid: bool [R]; the other rays get no samples.
    """
    n = edges.shape[1] - 1
    count = valid.long() * n
    offsets = torch.cat([count.new_zeros(1), count.cumsum(0)])
    kept = edges[valid]
    ray_index = torch.nonzero(valid)[:, 0].repeat_interleave(n)
    dt = kept.diff(dim=-1)
    return Samples(ray_index, (kept[:, :-1] + 0.5 * dt).reshape(-1), dt.reshape(-1), offsets)


def with_ends(samples: Samples, t_far: Float[Tensor, " r"], step: float) -> Samples:
    """The samples, and behind those of each ray one more section, the last ``step`` before ``t_far``.

    A ray that is certain to meet something ends there at the latest, also where the sampler has skipped the place.

    Args:
        t_far: distance [R] at which each ray leaves the box, normalised units.
    """
    n = len(t_far)
    ray = torch.arange(n, device=t_far.device)
    offsets = samples.offsets + torch.arange(n + 1, device=t_far.device)
    ops.mark_sound(offsets, len(samples) + n)
    place = torch.arange(len(samples), device=t_far.device) + samples.ray_index

    def joined(values: Tensor, ends: Tensor) -> Tensor:
        out = values.new_empty(len(values) + n)
        out[place], out[offsets[1:] - 1] = values, ends.to(values)
        return out

    t = joined(samples.t, (t_far - 0.5 * step).clamp_min(0.5 * step))
    dt = joined(samples.dt, torch.full_like(t_far, step))
    return Samples(joined(samples.ray_index, ray), t, dt, offsets)


def kept_samples(samples: Samples, kept: Bool[Tensor, " s"]) -> Samples:
    """The samples that are ``kept``, in the same order."""
    before = torch.cat([kept.new_zeros(1, dtype=torch.long), kept.long().cumsum(0)])
    return Samples(samples.ray_index[kept], samples.t[kept], samples.dt[kept], before[samples.offsets])


def sample_points(rays: Rays, samples: Samples) -> tuple[Float[Tensor, "s 3"], Float[Tensor, "s 3"]]:
    """Mid-points o + t d [S, 3] of the sections in normalised units, and their rays' unit directions [S, 3]."""
    return ops.sample_points(rays.origins, rays.dirs, samples.t, samples.ray_index)


def density_alpha(density: Float[Tensor, " s"], samples: Samples) -> Float[Tensor, " s"]:
    """Opacity [S] in [0, 1] of sections of constant density: 1 - exp(-sigma dt) (Mildenhall et al. 2020, equation 3).

    Args:
        density: sigma >= 0, in 1 / normalised unit.
    """
    return ops.density_alpha(density, samples.dt)
