"""What every model is, and the steps that all of them share.

Shapes: R rays, S packed samples, P points.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep.errors import InputError
from isosweep.geometry import box_hit
from isosweep.models.background import Background
from isosweep.samplers.base import Sampler
from isosweep.types import Knobs, Level, Rays, RenderOut, Samples

Want = frozenset[str]
"""RenderOut fields beyond rgb, opacity, depth and weights that the caller reads."""


class Model(nn.Module, ABC):
    """Rays to rendered values, and points to a level function whose zero set is the surface.

    A subclass names its knobs: ``class NeuS(Model)`` takes the ``NeuSKnobs`` that its own ``knobs`` made. Its
    constructor sets ``provides``, ``radius``, ``sampler`` and ``background``, in the order in which its
    parameters are to stand in a checkpoint.
    """

    provides: frozenset[str]
    """RenderOut fields this model can return; what a loss term may read."""
    radius: float
    """Half the side of the box, normalised units."""
    sampler: Sampler
    background: Background | None
    """Learned radiance behind the box; None composites over the rays' own background."""

    @abstractmethod
    def knobs(self, step: int, max_steps: int) -> Knobs:
        """Everything of the model that depends on the step."""

    @abstractmethod
    def forward(
        self, rays: Rays, knobs: Knobs, want: Want, generator: torch.Generator | None = None
    ) -> RenderOut:
        """Render rays; ``generator`` None samples deterministically (evaluation)."""

    @abstractmethod
    def level(self, points: Float[Tensor, "p 3"], knobs: Knobs) -> Float[Tensor, " p"]:
        """0 on the surface, positive outside, negative inside."""

    @abstractmethod
    def color(
        self, points: Float[Tensor, "p 3"], dirs: Float[Tensor, "p 3"], knobs: Knobs
    ) -> Float[Tensor, "p 3"]:
        """Radiance of points seen along unit directions."""

    def update(self, knobs: Knobs, generator: torch.Generator) -> None:
        """Refresh the sampler's memory of the field; nothing by default."""
        return

    def stats(self) -> dict[str, float]:
        """Scalars of the model itself worth a place on the progress line."""
        return {}

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def is_surface(self) -> bool:
        """Whether ``level`` is a signed distance, so that normals and an eikonal term make sense."""
        return "sdf" in self.provides

    def behind_window(self, step: int, max_steps: int) -> Tensor | None:
        """Weight of each feature of the background's encoding; None where all are one, or there is none."""
        behind = self.background
        return None if behind is None else behind.density.encoding.window(step, max_steps)

    def over_background(
        self,
        rays: Rays,
        color: Float[Tensor, "r 3"],
        opacity: Float[Tensor, " r"],
        box_exit: Float[Tensor, " r"],
        window: Tensor | None,
        generator: torch.Generator | None,
    ) -> tuple[Float[Tensor, "r 3"], dict[str, Level]]:
        """C + (1 - O) B: the box's colour over what lies behind it, and the background's level.

        Args:
            color, opacity: composited from the samples in the box.
            box_exit: where each ray leaves the box, 0 where it misses.
            window: of the background's encoding (``behind_window``).
        """
        behind, levels = rays.background, {}
        if self.background is not None:
            level = self.background(rays, box_exit, opacity, window, generator)
            behind, levels = level.rgb, {"background": level}
        return color + (1 - opacity)[:, None] * behind, levels


def provided(fields: Iterable[str], levels: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """``provides`` of a model: its own fields, and ``levels.<name>.<field>`` of its levels."""
    return frozenset({*fields, *(f"levels.{n}.{f}" for n, members in levels.items() for f in members)})


BACKGROUND_LEVEL = {"background": ("samples", "weights", "rgb", "opacity")}
"""What ``over_background`` adds to ``provided`` where there is a background."""


def require_probe(sampler: Sampler, has: Iterable[str], model: str) -> None:
    """Raise where a sampler needs a field that the model does not have."""
    if sampler.needs is not None and sampler.needs not in set(has):
        raise InputError(
            f"sampler '{type(sampler).__name__}' needs a field with a {sampler.needs}, and model '{model}' "
            f"has a {', '.join(sorted(has))}: use sampler=occgrid or sampler=uniform, or "
            + ("model=nerf" if sampler.needs == "density" else "model=neus")
        )


def box_interval(rays: Rays, radius: float, near: float) -> tuple[Tensor, Tensor]:
    """Where rays are inside the box, not before ``near``; empty (far <= near) where they miss."""
    t_near, t_far = box_hit(rays, radius)
    return t_near.clamp_min(near), t_far


def fixed_step(radius: float, n_steps: int) -> float:
    """The box diagonal in ``n_steps`` sections: 2 sqrt(3) r / n (Instant-NGP, instant-nsr-pl)."""
    return 2 * math.sqrt(3) * radius / n_steps


def scale_near(values: Tensor, samples: Samples) -> Tensor:
    """The same values, whose gradient is scaled by min(1, t^2) of the distance to the camera.

    Philip & Deschaintre 2023, "Floaters No More": near samples are seen by few cameras and would
    otherwise collect too much density.
    """
    if not values.requires_grad:
        return values
    scale = samples.t.square().clamp(max=1.0)
    scale = scale if values.ndim == 1 else scale[:, None]
    return scale * values + (1 - scale) * values.detach()
