"""One radiance field for all of space (Barron et al. 2022, mip-NeRF 360): nothing is split at a box.

Shapes: R rays, S packed samples, P points.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.bounds import NotNegative, Positive
from isosweep.errors import InputError
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.models.base import (
    AT_THE_END,
    Model,
    Sampling,
    Want,
    levels_of,
    provided,
    require_probe,
    scale_near,
)
from isosweep.models.compositing import closed_end, composite, density_level
from isosweep.models.space import ContractedCube, Space
from isosweep.samplers.base import Probe, Sampler, density_alpha, sample_points
from isosweep.types import Knobs, Randomness, Rays, RenderOut, Sampled


@dataclass(frozen=True)
class UnboundedKnobs(Knobs):
    """What of the model depends on the step."""

    window: Float[Tensor, " d"] | None = None
    """Weights of the encoding's features; None where all are one."""
    sampling: Sampling = AT_THE_END
    """Of the sampler."""


class NeRFUnbounded(Model):
    """C = sum_i T_i alpha_i c_i + T B along rays from the camera to ``far``, in contracted space.

    Source: Barron et al. 2022, mip-NeRF 360, without its cones: contraction (section 2, here of the largest coordinate,
    as nerfacto has it); proposals (section 3) and distortion (section 4) are the sampler's and the loss's. The box
    keeps half of the coordinates along each axis; a mesh is extracted from the box.

    Args:
        density, color: the fields.
        sampler: of rays that lead far away: proposal, hierarchical or uniform, with a spacing that is not linear.
        space: from points to the encoding's coordinates; None is ``ContractedCube``.
        radius: half the side of the box that is not contracted, normalised units.
        near, far: what of a ray is sampled, normalised units.
        near_of_rays: raise ``near`` to the distance before which a ray meets nothing, where the data tells it.
        opaque: the last section lets no light through, so that every ray ends on something learned.
        surface_density: the density taken as the surface when a mesh is extracted, in 1 / normalised unit.
        near_scaling: scale the gradients of samples by min(1, t^2) (``scale_near``).

    Raises:
        InputError: the sampler knows a box alone, or looks for a surface, or the encoding does not fit the space.
    """

    background = None
    fills_views = True

    def __init__(
        self,
        density: DensityField,
        color: ColorField,
        sampler: Sampler,
        space: Space | None = None,
        radius: Positive = 1.0,
        near: NotNegative = 0.05,
        far: Positive = 1e3,
        near_of_rays: bool = True,
        opaque: bool = True,
        surface_density: Positive = 5.0,
        near_scaling: bool = False,
    ) -> None:
        super().__init__()
        require_probe(sampler, ["density"], "nerf_unbounded")
        if sampler.in_box:
            raise InputError(
                f"model 'nerf_unbounded' follows rays to a distance of {far:g}, and sampler "
                f"'{type(sampler).__name__}' knows a box alone: use sampler=proposal, hierarchical or uniform"
            )
        self.density, self.color_field, self.sampler = density, color, sampler
        self.space = ContractedCube() if space is None else space
        self.space.check(density.encoding)
        self.radius, self.near, self.far = radius, near, far
        self.near_of_rays, self.opaque = near_of_rays, opaque
        self.surface_density, self.near_scaling = surface_density, near_scaling
        self.provides = provided(("rgb", "opacity", "depth", "weights", "samples"), levels_of(sampler, None))

    def knobs(self, step: int, max_steps: int) -> UnboundedKnobs:
        window = self.density.encoding.window(step, max_steps)
        return UnboundedKnobs(step, self.device, window, self.sampling(step, max_steps))

    def coordinates(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, "p c"]:
        """Coordinates [P, C] of the space, of points [P, 3] in normalised units."""
        return self.space.coordinates(points / self.radius)

    def _density(self, points: Tensor, knobs: UnboundedKnobs) -> Tensor:
        return self.density(self.coordinates(points), knobs.window)[0]

    def sample(self, rays: Rays, knobs: UnboundedKnobs, generator: Randomness | None = None) -> Sampled:
        near = torch.full_like(rays.dirs[:, 0], self.near)
        if self.near_of_rays and rays.near is not None:
            near = torch.maximum(near, rays.near)
        probe = Probe(
            density=lambda points: self._density(points, knobs),
            unit=self.coordinates,
            closed=self.opaque,
            knobs=knobs.sampling.box,
        )
        return self.sampler.sample(rays, near, torch.full_like(near, self.far), self.far, probe, generator)

    def render(
        self,
        rays: Rays,
        sampled: Sampled,
        knobs: UnboundedKnobs,
        want: Want,
        generator: Randomness | None = None,
    ) -> RenderOut:
        samples = sampled.samples
        points, _ = sample_points(rays, samples)
        u = self.coordinates(points)
        density, feature = self.density(u, knobs.window)
        shade = self.color_field(
            feature, rays.dirs, 2 * u[:, :3] - 1, ray_index=samples.ray_index, views=rays.view
        )
        alpha, rgb = density_alpha(density, samples), shade.rgb
        if self.near_scaling:
            alpha, rgb = scale_near(alpha, samples), scale_near(rgb, samples)
        if self.opaque:
            alpha = closed_end(alpha, samples)
        sums = composite(samples, alpha, rgb)
        return RenderOut(
            rgb=sums.rgb + (1 - sums.opacity)[:, None] * rays.background,
            opacity=sums.opacity,
            depth=sums.depth,
            samples=samples,
            weights=sums.weights,
            levels=sampled.levels,
            sample_extras=shade.extras,
        )

    def level(self, points: Float[Tensor, "p 3"], knobs: UnboundedKnobs) -> Float[Tensor, " p"]:
        """``density_level`` [P] at points in normalised units."""
        return density_level(self._density(points, knobs), self.surface_density)

    def color(
        self, points: Float[Tensor, "p 3"], dirs: Float[Tensor, "p 3"], knobs: UnboundedKnobs
    ) -> Float[Tensor, "p 3"]:
        u = self.coordinates(points)
        _, feature = self.density(u, knobs.window)
        return self.color_field(feature, dirs, 2 * u[:, :3] - 1).rgb
