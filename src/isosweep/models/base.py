"""What every model is, and the steps that all of them share.

Shapes: R rays, S packed samples, P points.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep import ops
from isosweep.geometry import box_hit
from isosweep.samplers.base import Sampler
from isosweep.types import Knobs, Rays, RenderOut, Samples

Want = frozenset[str]
"""RenderOut fields beyond rgb, opacity, depth and weights that the caller reads."""


class Model(nn.Module, ABC):
    """Rays to rendered values, and points to a level function whose zero set is the surface."""

    provides: frozenset[str]
    """RenderOut fields this model can return; what a loss term may read."""
    radius: float
    sampler: Sampler

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

    @abstractmethod
    def update(self, step: int, max_steps: int, generator: torch.Generator) -> None:
        """Refresh the sampler's memory of the field."""

    def stats(self) -> dict[str, float]:
        """Scalars of the model itself worth a place on the progress line."""
        return {}

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """'tables', 'networks', 'sharpness', 'background_tables', 'background' -> parameters.

        Raises:
            AssertionError: a parameter is in no group or in two.
        """
        groups: dict[str, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            behind = name.startswith("background.")
            if name.endswith("table"):
                group = "background_tables" if behind else "tables"
            elif name == "log_sharpness":
                group = "sharpness"
            else:
                group = "background" if behind else "networks"
            groups.setdefault(group, []).append(parameter)
        grouped = [id(p) for members in groups.values() for p in members]
        every = sorted(id(p) for p in self.parameters())
        assert sorted(grouped) == every, "a parameter is in no group or two"
        return groups


def require_probe(sampler: Sampler, has: Iterable[str], model: str) -> None:
    """Raise where a sampler needs a field that the model does not have."""
    if sampler.needs is not None and sampler.needs not in set(has):
        raise ValueError(
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


def sample_points(rays: Rays, samples: Samples) -> tuple[Float[Tensor, "s 3"], Float[Tensor, "s 3"]]:
    """Mid-points of the sections, and the direction each is seen along."""
    dirs = rays.dirs[samples.ray_index]
    return torch.addcmul(rays.origins[samples.ray_index], samples.t[:, None], dirs), dirs


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


def render(
    samples: Samples,
    alpha: Float[Tensor, " s"],
    rgb: Float[Tensor, "s 3"],
    normals: Float[Tensor, "s 3"] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Packed alpha compositing: weights [S], rgb [R, 3], opacity [R], depth [R], normal [R, 3].

    w_i = alpha_i prod_{j<i} (1 - alpha_j); rgb is without background; depth is the weighted mean
    distance over the opacity (0 where nothing is met); the normal is made unit.
    """
    weights = ops.render_weights(alpha.contiguous(), samples.offsets)
    columns = [rgb, torch.ones_like(samples.t)[:, None], samples.t[:, None]]
    if normals is not None:
        columns.append(normals)
    sums = ops.accumulate(weights, torch.cat(columns, dim=-1), samples.offsets)
    opacity = sums[:, 3]
    depth = sums[:, 4] / opacity.clamp_min(1e-6)
    normal = None if normals is None else torch.nn.functional.normalize(sums[:, 5:8], dim=-1)
    return weights, sums[:, :3], opacity, depth, normal
