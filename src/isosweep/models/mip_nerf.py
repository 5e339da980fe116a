"""Mip-NeRF (Barron et al. 2021): one network, which reads the Gaussians of sections of cones instead of points.

Shapes: R rays, S packed samples, P points.
"""

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.errors import InputError
from isosweep.fields.radiance import RadianceField
from isosweep.models.background import Background
from isosweep.models.base import (
    BACKGROUND_LEVEL,
    Model,
    Want,
    box_interval,
    fixed_step,
    provided,
)
from isosweep.models.compositing import closed_end, composite, density_level
from isosweep.models.cones import gaussians
from isosweep.models.rounds import COARSE, density_noise, over_background
from isosweep.samplers.base import Probe, Sampler, density_alpha
from isosweep.types import Knobs, Level, Randomness, Rays, RenderOut, Sampled, Samples

log = logging.getLogger("isosweep")


@dataclass(frozen=True)
class MipKnobs(Knobs):
    """Weights of the encodings' features at a step; None where all are one."""

    field: Float[Tensor, " d"] | None = None
    behind: Float[Tensor, " b"] | None = None


class MipNeRF(Model):
    """A pixel is a cone, and a sample the Gaussian of a section of it, whose integrated encoding the network reads.

    So the network knows how much of the scene a sample stands for, and one network serves both rounds: it renders the
    sampler's coarse round, whose weights place the fine samples, and ``loss=mip_nerf`` compares both with the
    photograph, the coarse one at a tenth of the weight (equation 17).

    Args:
        field: the network.
        sampler: one that can use a coarse round (``sampler=resampled``, or hierarchical).
        background: learned radiance outside the box; None composites over the rays' background.
        radius: half the side of the box, normalised units.
        near: nothing is sampled closer to the camera, normalised units.
        raw_noise_std: standard deviation of normal noise on the raw density, in training only (1 for the LLFF scenes).
        point_std: standard deviation, in units of ``radius``, of the Gaussian that stands for a point (in meshes). Of
            no width, it would show the network waves that no pixel has ever resolved. 1 / 256 is half the cell of a
            mesh of 256 cells a side.
        surface_density: the density taken as the surface when a mesh is extracted, in 1 / normalised unit.

    Raises:
        InputError: the sampler makes no coarse round, or ``point_std`` is negative.
    """

    takes_ndc = True
    takes_cones = True

    def __init__(
        self,
        field: RadianceField,
        sampler: Sampler,
        background: Background | None = None,
        radius: float = 1.0,
        near: float = 0.05,
        raw_noise_std: float = 0.0,
        point_std: float = 1 / 256,
        surface_density: float = 20.0,
    ) -> None:
        super().__init__()
        if COARSE not in sampler.asks_for:
            raise InputError(
                f"model 'mip_nerf' renders a coarse round, and sampler '{type(sampler).__name__}' makes none: use "
                "sampler=resampled or sampler=hierarchical, or model=nerf"
            )
        if point_std < 0:
            raise InputError(f"model.point_std={point_std:g}: a standard deviation is 0 or more")
        if not field.encoding.integrates:
            log.warning(
                "model 'mip_nerf' with the encoding %s, which knows no integral over a cone: it is taken at the cones' "
                "axes, as if pixels had no width. encoding=integrated is the paper's",
                type(field.encoding).__name__,
            )
        self.field, self.sampler, self.background = field, sampler, background
        self.radius, self.near, self.surface_density = radius, near, surface_density
        self.raw_noise_std, self.point_std = raw_noise_std, point_std
        own = ("rgb", "opacity", "depth", "weights", "samples")
        levels = {COARSE: own} | ({} if background is None else BACKGROUND_LEVEL)
        self.provides = provided(own, levels)

    def knobs(self, step: int, max_steps: int) -> MipKnobs:
        return MipKnobs(
            step,
            self.device,
            field=self.field.encoding.window(step, max_steps),
            behind=self.behind_window(step, max_steps),
        )

    def _render(self, rays: Rays, samples: Samples, knobs: MipKnobs, generator: Randomness | None) -> Level:
        """The network at the Gaussians of sections; ``rgb`` is without background."""
        found = gaussians(rays, samples)
        noise = density_noise(self.raw_noise_std, samples, generator)
        variance = found.variance / (2 * self.radius) ** 2
        density, feature = self.field.density(self.unit(found.mean), knobs.field, noise, variance)
        rgb = self.field.color(feature, rays.dirs, samples.ray_index)
        alpha = density_alpha(density, samples)
        sums = composite(samples, closed_end(alpha, samples) if rays.closed else alpha, rgb)
        return Level(samples, sums.weights, sums.rgb, sums.opacity, sums.depth)

    def sample(self, rays: Rays, knobs: MipKnobs, generator: Randomness | None = None) -> Sampled:
        t_near, t_far = box_interval(rays, self.radius, self.near)

        def coarse(samples: Samples) -> Level:
            return self._render(rays, samples, knobs, generator)

        probe = Probe(density=lambda p: self._at_points(p, knobs)[0], coarse=coarse)
        step = fixed_step(self.radius, 1)  # of no use to a sampler with rounds
        return self.sampler.sample(rays, t_near, t_far, step, probe, generator)

    def render(
        self,
        rays: Rays,
        sampled: Sampled,
        knobs: MipKnobs,
        want: Want,
        generator: Randomness | None = None,
    ) -> RenderOut:
        fine = self._render(rays, sampled.samples, knobs, generator)
        assert fine.rgb is not None
        assert fine.opacity is not None
        assert fine.depth is not None
        color, behind = self.over_background(rays, fine.rgb, fine.opacity, knobs.behind, generator)
        levels = {name: over_background(level, rays, behind) for name, level in sampled.levels.items()}
        return RenderOut(
            rgb=color,
            opacity=fine.opacity,
            depth=fine.depth,
            samples=sampled.samples,
            weights=fine.weights,
            levels={**levels, **behind},
        )

    def _at_points(
        self, points: Float[Tensor, "p 3"], knobs: MipKnobs
    ) -> tuple[Float[Tensor, " p"], Float[Tensor, "p f"]]:
        """Density and feature of the Gaussians that stand for points."""
        u = self.unit(points)
        return self.field.density(u, knobs.field, None, u.new_full(u.shape, (0.5 * self.point_std) ** 2))

    def update(self, knobs: MipKnobs, generator: torch.Generator, samples: int = 0) -> None:
        """Its samplers remember nothing; a background may."""
        self.update_background(knobs, knobs.behind, generator, samples)

    def level(self, points: Float[Tensor, "p 3"], knobs: MipKnobs) -> Float[Tensor, " p"]:
        """``density_level`` [P] of the network at points in normalised units."""
        return density_level(self._at_points(points, knobs)[0], self.surface_density)

    def color(
        self, points: Float[Tensor, "p 3"], dirs: Float[Tensor, "p 3"], knobs: MipKnobs
    ) -> Float[Tensor, "p 3"]:
        return self.field.color(self._at_points(points, knobs)[1], dirs).clamp(0, 1)
