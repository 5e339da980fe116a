"""Models of a volume density that render a coarse and a fine round of samples.

Shapes: R rays, S packed samples, P points.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.errors import InputError
from isosweep.models.background import Background
from isosweep.models.base import (
    AT_THE_END,
    Model,
    Sampling,
    Want,
    box_interval,
    fixed_step,
    levels_of,
    provided,
)
from isosweep.models.compositing import closed_end, composite, density_level
from isosweep.samplers.base import Probe, Sampler, density_alpha
from isosweep.types import Knobs, Level, Randomness, Rays, RenderOut, Sampled, Samples

COARSE = "coarse"
"""The name of the level that the first round becomes."""


@dataclass(frozen=True)
class RoundKnobs(Knobs):
    """What of the samplers and of the background depends on the step; a model adds what of its networks does."""

    behind: Float[Tensor, " b"] | None = None
    """Weight of each feature of the background's encoding; None where all are one."""
    sampling: Sampling = AT_THE_END


class TwoRounds(Model):
    """The sampler's first round is rendered, and its weights place the samples of the second one.

    Both colours are composited over the same background, and a loss can compare both with the photograph (Mildenhall
    et al. 2020, equation 6). What is shown and scored is the second round. A subclass says how its networks are
    read. Its constructor sets its networks and calls ``_set``.
    """

    takes_ndc = True
    near: float
    surface_density: float
    raw_noise_std: float

    def _set(
        self,
        sampler: Sampler,
        background: Background | None,
        radius: float,
        near: float,
        raw_noise_std: float,
        surface_density: float,
        why: str,
        use: str,
    ) -> None:
        """Set what all such models have.

        Args:
            why: the model wants a coarse round, and what to ``use`` where the sampler makes none; for the message.

        Raises:
            InputError: the sampler makes none.
        """
        if COARSE not in sampler.asks_for:
            raise InputError(
                f"{why}, and sampler '{type(sampler).__name__}' makes no coarse round: use {use}"
            )
        self.sampler, self.background = sampler, background
        self.radius, self.near, self.surface_density = radius, near, surface_density
        self.raw_noise_std = raw_noise_std
        own = ("rgb", "opacity", "depth", "weights", "samples")
        self.provides = provided(own, {COARSE: own} | levels_of(sampler, background))

    @abstractmethod
    def knobs(self, step: int, max_steps: int) -> RoundKnobs: ...

    @abstractmethod
    def _read(
        self, rays: Rays, samples: Samples, knobs: RoundKnobs, noise: Float[Tensor, " s"] | None, coarse: bool
    ) -> tuple[Float[Tensor, " s"], Float[Tensor, "s 3"]]:
        """Density and colour of the samples of the coarse round, or of the fine one.

        Args:
            noise: of the density before its activation.
        """

    @abstractmethod
    def _at_points(
        self, points: Float[Tensor, "p 3"], knobs: RoundKnobs
    ) -> tuple[Float[Tensor, " p"], Float[Tensor, "p f"]]:
        """Density of the fine round's network at points in normalised units, and the feature that its colour reads."""

    def _round(
        self, rays: Rays, samples: Samples, knobs: RoundKnobs, generator: Randomness | None, coarse: bool
    ) -> Level:
        """One round; ``rgb`` is without background."""
        noise = density_noise(self.raw_noise_std, samples, generator)
        density, rgb = self._read(rays, samples, knobs, noise, coarse)
        alpha = density_alpha(density, samples)
        sums = composite(samples, closed_end(alpha, samples) if rays.closed else alpha, rgb)
        return Level(samples, sums.weights, sums.rgb, sums.opacity, sums.depth)

    def sample(self, rays: Rays, knobs: RoundKnobs, generator: Randomness | None = None) -> Sampled:
        t_near, t_far = box_interval(rays, self.radius, self.near)
        probe = Probe(
            density=lambda points: self._at_points(points, knobs)[0],
            coarse=lambda samples: self._round(rays, samples, knobs, generator, coarse=True),
            unit=self.unit,
            knobs=knobs.sampling.box,
        )
        step = fixed_step(self.radius, 1)  # of no use to a sampler with rounds
        return self.sampler.sample(rays, t_near, t_far, step, probe, generator)

    def render(
        self,
        rays: Rays,
        sampled: Sampled,
        knobs: RoundKnobs,
        want: Want,
        generator: Randomness | None = None,
    ) -> RenderOut:
        fine = self._round(rays, sampled.samples, knobs, generator, coarse=False)
        assert fine.rgb is not None
        assert fine.opacity is not None
        assert fine.depth is not None
        color, behind = self.over_background(
            rays, fine.rgb, fine.opacity, knobs.behind, generator, knobs.sampling
        )
        levels = {name: _over(level, rays, behind) for name, level in sampled.levels.items()}
        return RenderOut(
            rgb=color,
            opacity=fine.opacity,
            depth=fine.depth,
            samples=sampled.samples,
            weights=fine.weights,
            levels={**levels, **behind},
        )

    def update(self, knobs: RoundKnobs, generator: torch.Generator, samples: int = 0) -> None:
        """Its samplers remember nothing; a background may."""
        self.update_background(knobs, knobs.behind, generator, samples)

    def level(self, points: Float[Tensor, "p 3"], knobs: RoundKnobs) -> Float[Tensor, " p"]:
        """``density_level`` [P] of the fine round's network at points in normalised units."""
        return density_level(self._at_points(points, knobs)[0], self.surface_density)


def density_noise(std: float, samples: Samples, generator: Randomness | None) -> Float[Tensor, " s"] | None:
    """Normal noise of the raw density of each sample, in training (NeRF, Mildenhall et al. 2020, appendix A).

    None where ``std`` is 0, or in evaluation, which has no generator.
    """
    if std <= 0 or generator is None:
        return None
    # it is drawn for each sample, so that a batch in parts has other noise than in one piece
    source = generator if isinstance(generator, torch.Generator) else generator.generator
    t = samples.t
    return std * torch.randn(len(samples), generator=source, device=t.device, dtype=t.dtype)


def _over(level: Level, rays: Rays, behind: dict[str, Level]) -> Level:
    """A level's colour over the rays' background, or over the learned one, which the fine round has sampled."""
    assert level.rgb is not None
    assert level.opacity is not None
    learned = behind["background"].rgb if behind else None
    back = rays.background if learned is None else learned
    rgb = level.rgb + (1 - level.opacity)[:, None] * back
    return Level(level.samples, level.weights, rgb, level.opacity, level.depth)
