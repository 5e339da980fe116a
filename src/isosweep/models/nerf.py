"""Radiance field with volume density (Mildenhall et al. 2020), inside a box."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.bounds import Count, NotNegative, Positive
from isosweep.errors import InputError
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
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
    require_probe,
    scale_near,
)
from isosweep.models.compositing import closed_end, composite, density_level
from isosweep.samplers.base import Probe, Sampler, density_alpha, sample_points, with_ends
from isosweep.types import Knobs, Randomness, Rays, RenderOut, Sampled


@dataclass(frozen=True)
class NeRFKnobs(Knobs):
    """What of a NeRF depends on the step: the weights of its encodings' features."""

    window: Float[Tensor, " d"] | None = None
    """Of the field's encoding; None where all are one."""
    behind: Float[Tensor, " b"] | None = None
    """Of the background's."""
    sampling: Sampling = AT_THE_END
    """Of the samplers."""


class NeRF(Model):
    """C = sum_i T_i alpha_i c_i + T B, alpha_i = 1 - exp(-sigma_i dt_i), T_i = prod_{j<i} (1 - alpha_j).
    Closed rays have alpha = 1 in a last section at the end of the box.

    Source: Mildenhall et al. 2020, equation 3, with one network for density and feature and one for colour as in
    Instant-NGP (Mueller et al. 2022). B is the background, learned or the rays' own.

    Args:
        density, color: the fields.
        sampler: where rays are evaluated.
        background: learned radiance outside the box; None composites over the rays' background.
        radius: half the side of the box, normalised units.
        n_steps: sections along the box diagonal for samplers that march.
        near: nothing is sampled closer to the camera, normalised units.
        surface_density: the density taken as the surface when a mesh is extracted, in 1 / normalised unit.
        near_scaling: scale the gradients of samples by min(1, t^2) (``scale_near``).
        render_finer: how many times as many sections a ray has where nothing is trained, for samplers that march.
            Training places sections at random, so that a long section stands for the mean over its places; a render
            has one place, and shorter sections come nearer to the mean.

    Raises:
        InputError: a ray may have more sections than the sampler's ``max_samples``.
    """

    takes_ndc = True

    def __init__(
        self,
        density: DensityField,
        color: ColorField,
        sampler: Sampler,
        background: Background | None = None,
        radius: Positive = 1.0,
        n_steps: Count = 512,
        near: NotNegative = 0.05,
        surface_density: Positive = 5.0,
        near_scaling: bool = False,
        render_finer: Count = 1,
    ) -> None:
        super().__init__()
        require_probe(sampler, ["density"], "nerf")
        self.density, self.color_field, self.sampler, self.background = density, color, sampler, background
        self.radius, self.near, self.surface_density = radius, near, surface_density
        self.step_size = fixed_step(radius, n_steps)
        self.near_scaling, self.render_finer = near_scaling, render_finer
        _require_room(sampler, n_steps, render_finer)
        own = ("rgb", "opacity", "depth", "weights", "samples")
        self.provides = provided(own, levels_of(sampler, background))

    def knobs(self, step: int, max_steps: int) -> NeRFKnobs:
        window = self.density.encoding.window(step, max_steps)
        behind, sampling = self.behind_window(step, max_steps), self.sampling(step, max_steps)
        return NeRFKnobs(step, self.device, window, behind, sampling)

    def _density(self, points: Tensor, knobs: NeRFKnobs) -> Tensor:
        return self.density(self.unit(points), knobs.window)[0]

    def sample(self, rays: Rays, knobs: NeRFKnobs, generator: Randomness | None = None) -> Sampled:
        t_near, t_far = box_interval(rays, self.radius, self.near)
        probe = Probe(
            density=lambda points: self._density(points, knobs),
            unit=self.unit,
            closed=rays.closed,
            knobs=knobs.sampling.box,
        )
        step = self.step_size / (1 if generator is not None else self.render_finer)
        sampled = self.sampler.sample(rays, t_near, t_far, step, probe, generator)
        if not rays.closed:
            return sampled
        return replace(sampled, samples=with_ends(sampled.samples, t_far, self.step_size))

    def render(
        self,
        rays: Rays,
        sampled: Sampled,
        knobs: NeRFKnobs,
        want: Want,
        generator: Randomness | None = None,
    ) -> RenderOut:
        samples = sampled.samples
        points, _ = sample_points(rays, samples)
        density, feature = self.density(self.unit(points), knobs.window)
        shade = self.color_field(
            feature, rays.dirs, points / self.radius, ray_index=samples.ray_index, views=rays.view
        )
        alpha, rgb = density_alpha(density, samples), shade.rgb
        if self.near_scaling:
            alpha, rgb = scale_near(alpha, samples), scale_near(rgb, samples)
        if rays.closed:
            alpha = closed_end(alpha, samples)
        sums = composite(samples, alpha, rgb)
        color, behind = self.over_background(
            rays, sums.rgb, sums.opacity, knobs.behind, generator, knobs.sampling
        )
        return RenderOut(
            rgb=color,
            opacity=sums.opacity,
            depth=sums.depth,
            samples=samples,
            weights=sums.weights,
            levels={**sampled.levels, **behind},
            sample_extras=shade.extras,
        )

    def level(self, points: Float[Tensor, "p 3"], knobs: NeRFKnobs) -> Float[Tensor, " p"]:
        """``density_level`` [P] at points in normalised units."""
        return density_level(self._density(points, knobs), self.surface_density)

    def color(
        self, points: Float[Tensor, "p 3"], dirs: Float[Tensor, "p 3"], knobs: NeRFKnobs
    ) -> Float[Tensor, "p 3"]:
        _, feature = self.density(self.unit(points), knobs.window)
        return self.color_field(feature, dirs, points / self.radius).rgb

    def update(self, knobs: NeRFKnobs, generator: torch.Generator, samples: int = 0) -> None:
        """Tell the sampler the opacity 1 - exp(-sigma dt) of a section of its own length (Instant-NGP, E.2)."""

        def occupancy(points: Tensor, cell: float) -> Tensor:
            return -torch.expm1(-self._density(points, knobs) * self.step_size)

        self.sampler.update(knobs.step, occupancy, generator, samples)
        self.update_background(knobs, knobs.behind, generator, samples)


def _require_room(sampler: Sampler, n_steps: int, render_finer: int) -> None:
    most = getattr(sampler, "max_samples", None)
    if render_finer > 1 and most is not None and n_steps * render_finer > most:
        raise InputError(
            f"model.render_finer={render_finer} gives a ray up to {n_steps} x {render_finer} sections, and "
            f"sampler.max_samples={most} keeps no more: raise that, or lower model.render_finer or model.n_steps"
        )
