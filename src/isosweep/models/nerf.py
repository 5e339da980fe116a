"""Radiance field with volume density (Mildenhall et al. 2020), inside a box."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.models.base import (
    Model,
    Want,
    box_interval,
    fixed_step,
    render,
    require_probe,
    sample_points,
    scale_near,
)
from isosweep.samplers.base import Probe, Sampler
from isosweep.types import Knobs, Rays, RenderOut


class NeRF(Model):
    """alpha_i = 1 - exp(-sigma_i dt_i), composited front to back over the rays' background.

    Args:
        density, color: the fields.
        sampler: where rays are evaluated.
        radius: half the side of the box, normalised units.
        n_steps: sections along the box diagonal for samplers that march.
        near: nothing is sampled closer to the camera, normalised units.
        surface_density: the density taken as the surface when a mesh is extracted.
        near_scaling: scale sample gradients by min(1, t^2).
    """

    provides = frozenset({"rgb", "opacity", "depth", "weights", "samples"})

    def __init__(
        self,
        density: DensityField,
        color: ColorField,
        sampler: Sampler,
        radius: float = 1.0,
        n_steps: int = 512,
        near: float = 0.05,
        surface_density: float = 5.0,
        near_scaling: bool = False,
    ) -> None:
        super().__init__()
        require_probe(sampler, ["density"], "nerf")
        self.density, self.color_field, self.sampler = density, color, sampler
        self.radius, self.near, self.surface_density = radius, near, surface_density
        self.step_size = fixed_step(radius, n_steps)
        self.near_scaling = near_scaling

    def knobs(self, step: int, max_steps: int) -> Knobs:
        like = next(self.parameters())
        one = torch.ones((), device=like.device)
        window = self.density.encoding.window(step, max_steps)
        return Knobs(step, cos_anneal=one, sharpness_cap=one * torch.inf, fd_eps=one, window=window)

    def _unit(self, points: Tensor) -> Tensor:
        return points / (2 * self.radius) + 0.5

    def _density(self, points: Tensor, knobs: Knobs) -> Tensor:
        return self.density(self._unit(points), knobs.window)[0]

    def forward(
        self, rays: Rays, knobs: Knobs, want: Want, generator: torch.Generator | None = None
    ) -> RenderOut:
        t_near, t_far = box_interval(rays, self.radius, self.near)
        probe = Probe(density=lambda points: self._density(points, knobs))
        samples = self.sampler.sample(rays, t_near, t_far, self.step_size, probe, generator)
        points, _ = sample_points(rays, samples)
        density, feature = self.density(self._unit(points), knobs.window)
        rgb = self.color_field(feature, rays.dirs, points / self.radius, ray_index=samples.ray_index)
        alpha = -torch.expm1(-density * samples.dt)
        if self.near_scaling:
            alpha, rgb = scale_near(alpha, samples), scale_near(rgb, samples)
        weights, color, opacity, depth, _ = render(samples, alpha, rgb, None)
        color = color + (1 - opacity)[:, None] * rays.background
        return RenderOut(color, opacity, depth, samples, weights)

    def level(self, points: Float[Tensor, "p 3"], knobs: Knobs) -> Float[Tensor, " p"]:
        """log(surface_density) - log(density): falls through 0 at the surface, and interpolates better
        than the density itself, which changes by orders of magnitude within a cell."""
        density = self._density(points, knobs)
        return math.log(self.surface_density) - torch.log(density.clamp_min(1e-6))

    def color(
        self, points: Float[Tensor, "p 3"], dirs: Float[Tensor, "p 3"], knobs: Knobs
    ) -> Float[Tensor, "p 3"]:
        _, feature = self.density(self._unit(points), knobs.window)
        return self.color_field(feature, dirs, points / self.radius)

    def update(self, step: int, max_steps: int, generator: torch.Generator) -> None:
        knobs = self.knobs(step, max_steps)

        def occupancy(points: Tensor, cell: float) -> Tensor:
            return -torch.expm1(-self._density(points, knobs) * self.step_size)

        self.sampler.update(step, occupancy, generator)
