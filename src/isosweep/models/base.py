"""What every model is, and the steps that all of them share.

Shapes: R rays, S packed samples, P points.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep.errors import InputError
from isosweep.fields.appearance import Appearance
from isosweep.geometry import box_hit, sphere_hit
from isosweep.models.background import Background
from isosweep.samplers.base import Sampler, SamplerKnobs
from isosweep.types import Knobs, Level, Randomness, Rays, RenderOut, Sampled, Samples

Want = frozenset[str]
"""RenderOut fields beyond rgb, opacity, depth and weights that the caller reads."""


@dataclass(frozen=True)
class Sampling:
    """What of a model's samplers depends on the step; None for a sampler without such things, or none at all."""

    box: SamplerKnobs | None = None
    behind: SamplerKnobs | None = None


AT_THE_END = Sampling()
"""Samplers as they are when the training is over."""


class Model(nn.Module, ABC):
    """Rays to rendered values, and points to a level function whose zero set is the surface.

    A subclass names its knobs: ``class NeuS(Model)`` takes the ``NeuSKnobs`` that its own ``knobs`` made. Its
    constructor sets ``provides``, ``radius``, ``sampler`` and ``background``, in the order in which its
    parameters are to stand in a checkpoint.
    """

    takes_ndc: ClassVar[bool] = False
    """Whether ``dataset.ndc=auto`` may give the model rays in normalised device coordinates, where no length is one of
    the world. A model with a background never gets them."""
    takes_cones: bool = False
    """Whether its rays are to have the ``radius`` of their pixels' cones."""
    against_death: ClassVar[str | None] = None
    """What to do where no ray meets anything in training any more, of a model that does not recover from it."""
    fills_views: ClassVar[bool] = False
    """Whether the model ends every ray that meets its box, so that whole photographs need no background."""
    provides: frozenset[str]
    """RenderOut fields this model can return; what a loss term may read."""
    radius: float
    """Half the side of the box, normalised units."""
    sampler: Sampler
    background: Background | None
    """Learned radiance behind the box; None composites over the rays' own background."""

    @abstractmethod
    def knobs(self, step: int, max_steps: int) -> Knobs:
        """Everything of the model that depends on the step.

        Args:
            step: 0 before the first update; ``max_steps`` after the last.
        """

    def forward(self, rays: Rays, knobs: Knobs, want: Want, generator: Randomness | None = None) -> RenderOut:
        """Choose samples along R rays and render them: ``sample``, then ``render``."""
        return self.render(rays, self.sample(rays, knobs, generator), knobs, want, generator)

    @abstractmethod
    def sample(self, rays: Rays, knobs: Knobs, generator: Randomness | None = None) -> Sampled:
        """The samples at which ``render`` evaluates the model; with gradients where a round of them has any.

        Args:
            rays: in the normalised scene frame, with unit directions.
            generator: of the random offsets of samples; None takes their middle (evaluation).
        """

    @abstractmethod
    def render(
        self,
        rays: Rays,
        sampled: Sampled,
        knobs: Knobs,
        want: Want,
        generator: Randomness | None = None,
    ) -> RenderOut:
        """Render R rays from their samples.

        Args:
            rays: in the normalised scene frame, with unit directions.
            sampled: what ``sample`` returned for the same rays and knobs.
            want: RenderOut fields beyond rgb, opacity, depth, samples and weights; the others stay None.
            generator: of the offsets of a background's samples, and of noise; None for evaluation.

        Returns: rgb [R, 3] in [0, 1] over the background, opacity [R] in [0, 1], depth [R] in normalised units along
        the ray, weights [S], and what ``want`` names.
        """

    @abstractmethod
    def level(self, points: Float[Tensor, "p 3"], knobs: Knobs) -> Float[Tensor, " p"]:
        """A value [P] at points [P, 3] in normalised units: 0 on the surface, positive outside, negative inside.

        For a surface model it is the signed distance in normalised units.
        """

    @abstractmethod
    def color(
        self, points: Float[Tensor, "p 3"], dirs: Float[Tensor, "p 3"], knobs: Knobs
    ) -> Float[Tensor, "p 3"]:
        """Radiance [P, 3] in [0, 1] of points [P, 3] in normalised units, seen along unit directions [P, 3]."""

    def update(self, knobs: Knobs, generator: torch.Generator, samples: int = 0) -> None:
        """Refresh the sampler's memory of the field, once before each training step; nothing by default.

        Args:
            samples: that a step aims at; the refreshment costs no more than a part of them. 0: not known.
        """
        return

    def stats(self) -> dict[str, float]:
        """Numbers of the model itself for the progress line and the log, by name; none by default."""
        return {}

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self.parameters()).device

    @property
    def most_views(self) -> int | None:
        """How many views may have codes of their own; None where no colour head has such codes."""
        return min((m.n_views for m in self.modules() if isinstance(m, Appearance)), default=None)

    @property
    def wants_stand_ins(self) -> bool:
        """Whether rays of a held-out view are to have the code of the nearest training view."""
        return any(m.unseen == "nearest" for m in self.modules() if isinstance(m, Appearance))

    @property
    def is_surface(self) -> bool:
        """Whether ``level`` is a signed distance, so that normals and an eikonal term make sense."""
        return "sdf" in self.provides

    def unit(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
        """u = x / (2 r) + 1/2: points in normalised units to the encodings' [0, 1]^3."""
        return points / (2 * self.radius) + 0.5

    def behind_window(self, step: int, max_steps: int) -> Tensor | None:
        """Weight [D] in [0, 1] of each feature of the background's encoding; None where all are 1, or there is none."""
        behind = self.background
        return None if behind is None else behind.density.encoding.window(step, max_steps)

    def sampling(self, step: int, max_steps: int) -> Sampling:
        """What of the samplers in the box and behind it depends on the step."""
        sampler = None if self.background is None else self.background.sampler
        behind = None if sampler is None else sampler.knobs(step, max_steps)
        return Sampling(self.sampler.knobs(step, max_steps), behind)

    def update_background(
        self, knobs: Knobs, window: Tensor | None, generator: torch.Generator, samples: int
    ) -> None:
        """Refresh what the background remembers, as ``update`` does of the box."""
        if self.background is not None:
            self.background.update(knobs.step, window, generator, samples)

    def over_background(
        self,
        rays: Rays,
        color: Float[Tensor, "r 3"],
        opacity: Float[Tensor, " r"],
        window: Tensor | None,
        generator: Randomness | None,
        sampling: Sampling = AT_THE_END,
        interval: str = "box",
    ) -> tuple[Float[Tensor, "r 3"], dict[str, Level]]:
        """C + (1 - O) B [R, 3]: the box's colour over what lies behind it; and the background's levels, by name.

        Sources: mip-NeRF 360 (Barron et al. 2022), section 3, for a background in contracted space; NeuS (Wang et
        al. 2021), section 4, for a background behind a surface.

        Args:
            color, opacity: C in [0, 1] and O in [0, 1], composited from the samples in the box.
            window: of the background's encoding (``behind_window``).
            generator: as in ``forward``.
            sampling: what ``sampling`` made for the step.
            interval: what of a ray the model samples itself (``ray_interval``); the background begins at its end.
        """
        behind, levels = rays.background, {}
        if self.background is not None:
            end = INTERVALS[interval](rays, self.radius)[1]
            levels = self.background.levels(rays, end, opacity, window, generator, sampling.behind)
            behind = levels["background"].rgb
            assert behind is not None
        return color + (1 - opacity)[:, None] * behind, levels


class Uploads:
    """Numbers of a step on the model's device: one transfer for all of them, and none where they are the last ones."""

    def __init__(self) -> None:
        self._last: tuple[object, Tensor] | None = None

    def tensor(self, values: tuple[float, ...], device: torch.device) -> Float[Tensor, " n"]:
        """The values as a tensor that nobody may write to. A card takes them from pinned memory, without waiting."""
        key = (values, device, torch.get_default_dtype())
        if self._last is None or self._last[0] != key:
            # training could not use what an evaluation made in its inference mode
            with torch.inference_mode(False):
                host = torch.tensor(values, device="cpu", pin_memory=device.type == "cuda")
                self._last = key, host.to(device, non_blocking=True)
        return self._last[1]


def provided(fields: Iterable[str], levels: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """``provides`` of a model: its own fields, and ``levels.<name>.<field>`` of its levels."""
    return frozenset({*fields, *(f"levels.{n}.{f}" for n, members in levels.items() for f in members)})


BACKGROUND_LEVEL = {"background": ("samples", "weights", "rgb", "opacity")}
"""What ``over_background`` adds to ``provided`` where there is a background."""


def levels_of(sampler: Sampler, background: Background | None) -> dict[str, tuple[str, ...]]:
    """Fields of the levels that a model's sampler makes, and its background, for ``provided``."""
    own = dict(sampler.levels)
    if background is None:
        return own
    return own | BACKGROUND_LEVEL | background.proposals


def require_probe(sampler: Sampler, has: Iterable[str], model: str) -> None:
    """Check that a sampler can work with a model.

    Args:
        has: the fields of the probe that the model gives, of 'density' and 'level'.

    Raises:
        InputError: the sampler needs another one.
    """
    if sampler.needs is not None and sampler.needs not in set(has):
        raise InputError(
            f"sampler '{type(sampler).__name__}' needs a field with a {sampler.needs}, and model '{model}' "
            f"has a {', '.join(sorted(has))}: use sampler=occgrid or sampler=uniform, or "
            + ("model=nerf" if sampler.needs == "density" else "model=neus")
        )


def nearest_interval(rays: Rays, radius: float) -> tuple[Tensor, Tensor]:
    """Distances [R] one ``radius`` before and behind the point of each ray that is nearest to the origin.

    Negative ones count as 0, and where both are negative the ray leads away from the scene and has none: (0, 0).
    Source: the code of NeuS (Wang et al. 2021), which keeps negative ones.
    """
    middle = -(rays.origins * rays.dirs).sum(-1)
    return (middle - radius).clamp_min(0.0), (middle + radius).clamp_min(0.0)


INTERVALS: Mapping[str, Callable[[Rays, float], tuple[Tensor, Tensor]]] = {
    "box": box_hit,
    "sphere": sphere_hit,
    "nearest": nearest_interval,
}
"""What of a ray a model may sample -> the distances [R], [R] of its ends; (0, 0) where there is nothing of it."""


def ray_interval(rays: Rays, radius: float, near: float, interval: str) -> tuple[Tensor, Tensor]:
    """The distances [R], [R] in normalised units between which rays are sampled; far <= near where they are not.

    Args:
        near: the first is at least this, and at least the ray's own.
        interval: a name of ``INTERVALS``.
    """
    t_near, t_far = INTERVALS[interval](rays, radius)
    t_near = t_near.clamp_min(near)
    return t_near if rays.near is None else torch.maximum(t_near, rays.near), t_far


def box_interval(rays: Rays, radius: float, near: float) -> tuple[Tensor, Tensor]:
    """The distances [R], [R] in normalised units between which rays are inside the box [-radius, radius]^3.

    The first is at least ``near`` and the ray's own. The interval is empty (far <= near) where a ray misses.
    """
    return ray_interval(rays, radius, near, "box")


def fixed_step(radius: float, n_steps: int) -> float:
    """Length in normalised units of a section if the box diagonal has ``n_steps`` of them: 2 sqrt(3) r / n.

    Source: Instant-NGP (Mueller et al. 2022), appendix E.1, with n = 1024; instant-nsr-pl with the same formula.
    """
    return 2 * math.sqrt(3) * radius / n_steps


def scale_near(values: Tensor, samples: Samples) -> Tensor:
    """The same values [S] or [S, C]; their gradient is scaled by min(1, t^2), with t in normalised units.

    Near samples are seen by few cameras and would otherwise collect too much density. Source: Philip & Deschaintre
    2023, "Floaters No More: Radiance Field Gradient Scaling for Improved Near-Camera Training".
    """
    if not values.requires_grad:
        return values
    scale = samples.t.square().clamp(max=1.0)
    scale = scale if values.ndim == 1 else scale[:, None]
    return scale * values + (1 - scale) * values.detach()
