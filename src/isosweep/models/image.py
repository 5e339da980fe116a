"""A picture as a function of the place: the model of the first lesson (docs/lesson.md)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.bounds import Positive
from isosweep.errors import InputError
from isosweep.fields.picture import PictureField
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
from isosweep.models.compositing import composite
from isosweep.samplers.base import Probe, Sampler, sample_points
from isosweep.samplers.plane import Plane
from isosweep.types import Knobs, Randomness, Rays, RenderOut, Sampled


@dataclass(frozen=True)
class ImageKnobs(Knobs):
    """What of a picture depends on the step: the weights of its encodings' features."""

    window: Float[Tensor, " d"] | None = None
    """Of the field's encoding; None where all are one."""
    behind: Float[Tensor, " b"] | None = None
    """Of the background's."""
    sampling: Sampling = AT_THE_END


class Image(Model):
    """C = field(x) at the point x in which a ray crosses the plane z = 0: an opaque, painted plane.

    Source: Tancik et al. 2020, "Fourier Features Let Networks Learn High Frequency Functions", section 6. Encodings
    are those of space, here on a slice of it. A ray that misses the part of the plane in the box sees the background.

    Args:
        field: colour of points.
        sampler: must be ``Plane``.
        background: learned radiance outside the box; None composites over the rays' background.
        radius: half the side of the box, normalised units.

    Raises:
        InputError: another sampler.
    """

    fills_views = True

    def __init__(
        self,
        field: PictureField,
        sampler: Sampler,
        background: Background | None = None,
        radius: Positive = 1.0,
    ) -> None:
        super().__init__()
        if not isinstance(sampler, Plane):
            raise InputError(
                "model 'image' has one point a ray, on the plane of the picture, and the sampler is "
                f"'{type(sampler).__name__}': use sampler=plane, or model=nerf"
            )
        self.field, self.sampler, self.background, self.radius = field, sampler, background, radius
        own = ("rgb", "opacity", "depth", "weights", "samples")
        self.provides = provided(own, levels_of(sampler, background))

    def knobs(self, step: int, max_steps: int) -> ImageKnobs:
        window = self.field.encoding.window(step, max_steps)
        behind, sampling = self.behind_window(step, max_steps), self.sampling(step, max_steps)
        return ImageKnobs(step, self.device, window, behind, sampling)

    def sample(self, rays: Rays, knobs: ImageKnobs, generator: Randomness | None = None) -> Sampled:
        t_near, t_far = box_interval(rays, self.radius, 0.0)
        return self.sampler.sample(rays, t_near, t_far, fixed_step(self.radius, 1024), Probe(), generator)

    def render(
        self,
        rays: Rays,
        sampled: Sampled,
        knobs: ImageKnobs,
        want: Want,
        generator: Randomness | None = None,
    ) -> RenderOut:
        samples = sampled.samples
        points, _ = sample_points(rays, samples)
        rgb = self.field(self.unit(points), knobs.window)
        opaque = (samples.dt > 0).to(rgb)  # all but padding
        sums = composite(samples, opaque, rgb)
        color, behind = self.over_background(
            rays, sums.rgb, sums.opacity, knobs.behind, generator, knobs.sampling
        )
        return RenderOut(
            rgb=color,
            opacity=sums.opacity,
            depth=sums.depth,
            samples=samples,
            weights=sums.weights,
            levels=behind,
        )

    def level(self, points: Float[Tensor, "p 3"], knobs: ImageKnobs) -> Float[Tensor, " p"]:
        """-z [P] in normalised units: the plane, whose outside is the side of a picture's camera."""
        return -points[:, 2]

    def color(
        self, points: Float[Tensor, "p 3"], dirs: Float[Tensor, "p 3"], knobs: ImageKnobs
    ) -> Float[Tensor, "p 3"]:
        return self.field(self.unit(points), knobs.window)

    def update(self, knobs: ImageKnobs, generator: torch.Generator, samples: int = 0) -> None:
        self.update_background(knobs, knobs.behind, generator, samples)
