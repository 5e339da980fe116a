"""NeRF as published (Mildenhall et al. 2020): a coarse and a fine network, both supervised.

Shapes: R rays, S packed samples, P points.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.errors import InputError
from isosweep.fields.radiance import RadianceField
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
from isosweep.samplers.base import Probe, Sampler, density_alpha, sample_points
from isosweep.types import Knobs, Level, Randomness, Rays, RenderOut, Sampled, Samples

COARSE = "coarse"


@dataclass(frozen=True)
class TwoNetworkKnobs(Knobs):
    """Weights of the encodings' features at a step; None where all are one."""

    coarse: Float[Tensor, " d"] | None = None
    fine: Float[Tensor, " d"] | None = None
    behind: Float[Tensor, " b"] | None = None
    sampling: Sampling = AT_THE_END


class NeRFOriginal(Model):
    """The coarse network renders the sampler's first round; its weights place the samples of the fine network.

    Both colours are composited over the same background, and ``loss=nerf_original`` compares both with the
    photograph: equation 6 of the paper. What is shown, scored and exported is the fine network.

    Args:
        coarse, fine: the networks.
        sampler: one that can use a coarse round (``sampler=hierarchical``).
        background: learned radiance outside the box; None composites over the rays' background.
        radius: half the side of the box, normalised units.
        near: nothing is sampled closer to the camera, normalised units.
        raw_noise_std: standard deviation of normal noise on the density before its relu, in training only
            (the paper's appendix A: 1 for real scenes, 0 for synthetic ones).
        surface_density: the density taken as the surface when a mesh is extracted, in 1 / normalised unit.
    """

    takes_ndc = True
    against_death = (
        "start again with train.precrop=0.5 train.precrop_until=0.01, so that the first rays meet the object, or with "
        "another seed, or with model.raw_noise_std=1"
    )

    def __init__(
        self,
        coarse: RadianceField,
        fine: RadianceField,
        sampler: Sampler,
        background: Background | None = None,
        radius: float = 1.0,
        near: float = 0.05,
        raw_noise_std: float = 0.0,
        surface_density: float = 20.0,
    ) -> None:
        super().__init__()
        if COARSE not in sampler.asks_for:
            raise InputError(
                f"model 'nerf_original' has a coarse network, and sampler '{type(sampler).__name__}' makes no coarse "
                "round: use sampler=hierarchical, or model=nerf"
            )
        self.coarse, self.fine, self.sampler, self.background = coarse, fine, sampler, background
        self.radius, self.near, self.surface_density = radius, near, surface_density
        self.raw_noise_std = raw_noise_std
        own = ("rgb", "opacity", "depth", "weights", "samples")
        levels = {COARSE: own} | levels_of(sampler, background)
        self.provides = provided(own, levels)

    def knobs(self, step: int, max_steps: int) -> TwoNetworkKnobs:
        return TwoNetworkKnobs(
            step,
            self.device,
            coarse=self.coarse.encoding.window(step, max_steps),
            fine=self.fine.encoding.window(step, max_steps),
            behind=self.behind_window(step, max_steps),
            sampling=self.sampling(step, max_steps),
        )

    def _render(
        self,
        field: RadianceField,
        window: Tensor | None,
        rays: Rays,
        samples: Samples,
        generator: Randomness | None,
    ) -> Level:
        """One network at the mid-points of sections; ``rgb`` is without background."""
        points, _ = sample_points(rays, samples)
        noise = None
        if self.raw_noise_std > 0 and generator is not None:
            # it is drawn for each sample, so that a batch in parts has other noise than in one piece
            source = generator if isinstance(generator, torch.Generator) else generator.generator
            noise = self.raw_noise_std * torch.randn(
                len(samples), generator=source, device=points.device, dtype=points.dtype
            )
        density, feature = field.density(self.unit(points), window, noise)
        rgb = field.color(feature, rays.dirs, samples.ray_index)
        alpha = density_alpha(density, samples)
        sums = composite(samples, closed_end(alpha, samples) if rays.closed else alpha, rgb)
        return Level(samples, sums.weights, sums.rgb, sums.opacity, sums.depth)

    def sample(self, rays: Rays, knobs: TwoNetworkKnobs, generator: Randomness | None = None) -> Sampled:
        t_near, t_far = box_interval(rays, self.radius, self.near)

        def coarse(samples: Samples) -> Level:
            return self._render(self.coarse, knobs.coarse, rays, samples, generator)

        probe = Probe(density=lambda p: self._fine_density(p, knobs), coarse=coarse)
        step = fixed_step(self.radius, 1)  # of no use to a sampler with rounds
        return self.sampler.sample(rays, t_near, t_far, step, probe, generator)

    def render(
        self,
        rays: Rays,
        sampled: Sampled,
        knobs: TwoNetworkKnobs,
        want: Want,
        generator: Randomness | None = None,
    ) -> RenderOut:
        fine = self._render(self.fine, knobs.fine, rays, sampled.samples, generator)
        assert fine.rgb is not None
        assert fine.opacity is not None
        assert fine.depth is not None
        color, behind = self.over_background(
            rays, fine.rgb, fine.opacity, knobs.behind, generator, knobs.sampling
        )
        levels = {name: self._over(level, rays, behind) for name, level in sampled.levels.items()}
        return RenderOut(
            rgb=color,
            opacity=fine.opacity,
            depth=fine.depth,
            samples=sampled.samples,
            weights=fine.weights,
            levels={**levels, **behind},
        )

    @staticmethod
    def _over(level: Level, rays: Rays, behind: dict[str, Level]) -> Level:
        """A level's colour over the rays' background, or over the learned one, which the fine round has sampled."""
        assert level.rgb is not None
        assert level.opacity is not None
        learned = behind["background"].rgb if behind else None
        back = rays.background if learned is None else learned
        rgb = level.rgb + (1 - level.opacity)[:, None] * back
        return Level(level.samples, level.weights, rgb, level.opacity, level.depth)

    def _fine_density(self, points: Tensor, knobs: TwoNetworkKnobs) -> Float[Tensor, " p"]:
        return self.fine.density(self.unit(points), knobs.fine)[0]

    def update(self, knobs: TwoNetworkKnobs, generator: torch.Generator, samples: int = 0) -> None:
        """Its samplers remember nothing; a background may."""
        self.update_background(knobs, knobs.behind, generator, samples)

    def level(self, points: Float[Tensor, "p 3"], knobs: TwoNetworkKnobs) -> Float[Tensor, " p"]:
        """``density_level`` [P] of the fine network at points in normalised units."""
        return density_level(self._fine_density(points, knobs), self.surface_density)

    def color(
        self, points: Float[Tensor, "p 3"], dirs: Float[Tensor, "p 3"], knobs: TwoNetworkKnobs
    ) -> Float[Tensor, "p 3"]:
        _, feature = self.fine.density(self.unit(points), knobs.fine)
        return self.fine.color(feature, dirs)
