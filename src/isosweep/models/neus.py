"""NeuS (Wang et al. 2021): volume rendering of a signed-distance field, with or without a background.

Shapes: R rays, S packed samples. s is the sharpness, 1 / standard deviation of the logistic density.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from isosweep import ops
from isosweep.bounds import Bound, Count, NotNegative, Positive, Rising, Share
from isosweep.config import schedules
from isosweep.errors import InputError
from isosweep.fields import finite_difference
from isosweep.fields.shading import ShadingHead
from isosweep.fields.surface import SurfaceField
from isosweep.models.background import Background
from isosweep.models.base import (
    AT_THE_END,
    INTERVALS,
    Model,
    Sampling,
    Uploads,
    Want,
    fixed_step,
    levels_of,
    provided,
    ray_interval,
    require_probe,
    scale_near,
)
from isosweep.models.compositing import composite
from isosweep.models.crossing import first_crossing
from isosweep.ops import opacity
from isosweep.samplers.base import Probe, Sampler, kept_samples, sample_points
from isosweep.types import Knobs, Randomness, Rays, RenderOut, Sampled

SURFACE = frozenset({"ray_extras.surface_met", "ray_extras.surface_t", "ray_extras.surface_normal"})
"""Where each ray first meets the surface (crossing.py): whether [R], at what distance [R], and the normal [R, 3]."""

UNSEEN = 1e-6
"""The light that is left of a ray behind which, in a view, no colour is asked for: a quarter of a thousandth of a step
of 8 bits is lost."""

TAPS = {6: finite_difference.taps, 4: finite_difference.four_taps}
"""Number of taps of a finite difference -> the function."""


@dataclass(frozen=True)
class NeuSKnobs(Knobs):
    """What of NeuS depends on the step."""

    cos_anneal: Float[Tensor, ""]
    """a in [0, 1]: 0 keeps gradients alive behind the surface, 1 is the exact formula."""
    sharpness_cap: Float[Tensor, ""]
    """Upper bound of s; inf where it is not modulated."""
    fd_eps: Float[Tensor, ""]
    """Half the finite-difference stencil, normalised units."""
    detail: Float[Tensor, ""] = field(default_factory=lambda: torch.ones(()))
    """``RenderOut.detail``."""
    window: Float[Tensor, " d"] | None = None
    """Weight of each feature of the surface's encoding; None where all are one."""
    behind: Float[Tensor, " b"] | None = None
    """Likewise of the background's."""
    sampling: Sampling = AT_THE_END
    """Of the samplers."""


class NeuS(Model):
    """Signed-distance field, colour field, one learned sharpness s = exp(10 v), and what lies behind.

    C = sum_i T_i alpha_i c_i + T B, T_i = prod_{j<i} (1 - alpha_j), with alpha_i of ``opacity.section_alpha``
    (Wang et al. 2021, equations 11 to 13).

    Args:
        field, color: the surface and the colour head.
        sampler: where rays are evaluated.
        background: learned radiance outside the box; None composites over the rays' background.
        radius: half the side of the box, normalised units.
        gradient: 'analytic' (first-order output of the field) or 'finite_difference'.
        fd_eps: distance of a tap from its point in normalised units, or 'progressive': the side of the encoding's
            finest active cell (Neuralangelo).
        fd_scale: factor on ``fd_eps``.
        taps: of a finite difference, 6 along the axes or 4 at the corners of a tetrahedron (Neuralangelo's code).
        cos_from: 'gradient' (NeuS) or 'normal' (instant-nsr-pl): whether cos uses the raw gradient.
        cos_anneal_until: fraction of max_steps after which cos is exact; 0 for exact from the start.
        init_sharpness: v at step 0.
        sharpness_cap: schedule that bounds s (modulation), or None.
        n_steps: sections along the box diagonal; None ties the section to the sharpness instead,
            clip(step_scale / s, step_min, step_max) in units of the radius.
        occupancy: 'hollow' marks cells near the surface only, 'solid' the inside as well (peers').
        near: nothing is sampled closer to the camera.
        near_scaling: scale sample gradients by min(1, t^2).
        shading_normal: what the colour network reads as the normal: 'unit', or 'gradient' as it is (the code of NeuS).
        interval: where along a ray samples lie: in the 'box'; in the 'sphere' of the radius, behind which a background
            then begins; or 'nearest', one radius before and behind the ray's point nearest to the origin, so that every
            ray has samples (the code of NeuS).
    """

    def __init__(
        self,
        field: SurfaceField,
        color: ShadingHead,
        sampler: Sampler,
        background: Background | None = None,
        radius: Positive = 1.0,
        gradient: str = "analytic",
        fd_eps: Positive | str = "progressive",
        cos_from: str = "gradient",
        cos_anneal_until: Share = 0.0,
        init_sharpness: Annotated[float, Bound(least=-1, most=1)] = 0.3,
        sharpness_cap: Rising | None = None,
        n_steps: Count | None = None,
        step_scale: Positive = 2.0,
        step_min: Positive = 0.008,
        step_max: Positive = 0.04,
        occupancy: str = "hollow",
        near: NotNegative = 0.05,
        near_scaling: bool = False,
        fd_scale: Positive = 1.0,
        taps: Annotated[int, Bound(least=4, most=6)] = 6,
        shading_normal: str = "unit",
        interval: str = "box",
    ) -> None:
        super().__init__()
        _one_of("gradient", gradient, ("analytic", "finite_difference"))
        _one_of("cos_from", cos_from, ("gradient", "normal"))
        _one_of("occupancy", occupancy, ("hollow", "solid"))
        _one_of("shading_normal", shading_normal, ("unit", "gradient"))
        _one_of("interval", interval, tuple(INTERVALS))
        if taps not in TAPS:
            raise InputError(f"model.taps is one of {', '.join(map(str, TAPS))}, found {taps!r}")
        if isinstance(fd_eps, str):
            _one_of("fd_eps", fd_eps, ("progressive",))
        if field.network != "layers" and gradient == "finite_difference":
            raise InputError(
                f"model.field.network={field.network} computes distances in half precision, too coarse for differences "
                "of neighbouring ones: set model.gradient=analytic, or model.field.network=layers"
            )
        if sharpness_cap is not None:
            schedules.check(sharpness_cap, "model.sharpness_cap")
        require_probe(sampler, ["level"], "neus")
        self.field, self.color_field, self.sampler, self.background = field, color, sampler, background
        self.radius, self.near, self.near_scaling = radius, near, near_scaling
        self.gradient, self.fd_eps, self.cos_from = gradient, fd_eps, cos_from
        self.cos_anneal_until, self.cap_schedule = cos_anneal_until, sharpness_cap
        self.n_steps, self.step_scale = n_steps, step_scale
        self.step_min, self.step_max = step_min * radius, step_max * radius
        self.occupancy = occupancy
        self.fd_scale, self.taps = fd_scale, TAPS[taps]
        self.shading_normal, self.interval = shading_normal, interval
        self._uploads = Uploads()
        self.log_sharpness = nn.Parameter(torch.tensor(float(init_sharpness)))
        own = (
            *SURFACE,
            "rgb",
            "opacity",
            "depth",
            "weights",
            "samples",
            "normal",
            "sdf",
            "sdf_grad",
            *(
                ("laplacian",) if field.network == "layers" else ()
            ),  # half precision has no second differences
            "detail",
        )
        levels = levels_of(sampler, background)
        self.provides = provided([*own, "point_level"], levels)  # its level is a signed distance

    def knobs(self, step: int, max_steps: int) -> NeuSKnobs:
        device = self.log_sharpness.device

        whole = self.cos_anneal_until * max_steps
        cap = math.inf if self.cap_schedule is None else schedules.value(self.cap_schedule, step, max_steps)
        anneal = 1.0 if whole <= 0 else min(1.0, step / whole)
        eps, detail = self._fd_eps(step, max_steps), self._detail(step, max_steps)
        numbers = self._uploads.tensor((anneal, cap, eps, detail), device)
        return NeuSKnobs(
            step=step,
            device=device,
            cos_anneal=numbers[0],
            sharpness_cap=numbers[1],
            fd_eps=numbers[2],
            detail=numbers[3],
            window=self.field.encoding.window(step, max_steps),
            behind=self.behind_window(step, max_steps),
            sampling=self.sampling(step, max_steps),
        )

    def _fd_eps(self, step: int, max_steps: int) -> float:
        if not isinstance(self.fd_eps, str):
            return self.fd_scale * self.fd_eps
        cell = self.field.encoding.cell_size(step, max_steps)
        # An encoding without cells (frequencies) has no finest scale to follow: 1/1024 of the box.
        return self.fd_scale * 2 * self.radius * (1 / 1024 if cell is None else cell)

    def _detail(self, step: int, max_steps: int) -> float:
        encoding = self.field.encoding
        cell, coarsest = encoding.cell_size(step, max_steps), encoding.coarsest_cell()
        return 1.0 if cell is None or coarsest is None else cell / coarsest

    def sharpness(self, knobs: NeuSKnobs) -> Float[Tensor, ""]:
        """s = exp(10 v) in [1e-6, 1e6], in 1 / normalised unit, and no more than ``sharpness_cap`` (NeuS, its code)."""
        return opacity.sharpness(self.log_sharpness, knobs.sharpness_cap)

    def step_size(self, knobs: NeuSKnobs) -> float | Float[Tensor, ""]:
        """Section length for samplers that march, normalised units. On a card it stays there: a read would wait."""
        if self.n_steps is not None:
            return fixed_step(self.radius, self.n_steps)
        if ops.on_card():
            return self._step_on_card(knobs)
        s = float(self.sharpness(knobs).detach())
        return min(max(self.step_scale / s, self.step_min), self.step_max)

    @torch.no_grad()
    def _step_on_card(self, knobs: NeuSKnobs) -> Float[Tensor, ""]:
        """The same in few launches: step_scale / s is step_scale exp(-10 v), but for the bounds of s."""
        width = torch.exp(-10 * self.log_sharpness)
        if self.cap_schedule is not None:
            width = torch.maximum(width, knobs.sharpness_cap.reciprocal())
        bounds = (self.step_scale / opacity.MOST_SHARPNESS, self.step_scale / opacity.LEAST_SHARPNESS)
        low, high = (min(max(x, self.step_min), self.step_max) for x in bounds)
        return (self.step_scale * width).clamp(low, high)

    def _surface(
        self, points: Tensor, knobs: NeuSKnobs, want_laplacian: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Distance, feature, gradient and (if wanted) Laplacian at points."""

        def level(p: Tensor) -> Tensor:
            return self.field.level(p, knobs.window)

        if self.gradient == "analytic":
            sdf, feature, grad = self.field.with_gradient(points, knobs.window)
            laplacian = None
            if want_laplacian:
                laplacian = self.taps(level, points, sdf, knobs.fd_eps, self.radius)[1]
            return sdf, feature, grad, laplacian
        sdf, feature = self.field(points, knobs.window)
        grad, laplacian = self.taps(level, points, sdf, knobs.fd_eps, self.radius)
        return sdf, feature, grad, laplacian if want_laplacian else None

    def sample(self, rays: Rays, knobs: NeuSKnobs, generator: Randomness | None = None) -> Sampled:
        t_near, t_far = ray_interval(rays, self.radius, self.near, self.interval)
        probe = Probe(
            level=lambda points: self.field.level(points, knobs.window),
            unit=self.unit,
            knobs=knobs.sampling.box,
        )
        return self.sampler.sample(rays, t_near, t_far, self.step_size(knobs), probe, generator)

    def render(
        self,
        rays: Rays,
        sampled: Sampled,
        knobs: NeuSKnobs,
        want: Want,
        generator: Randomness | None = None,
    ) -> RenderOut:
        samples = sampled.samples
        points, dirs = sample_points(rays, samples)
        sdf, feature, grad, laplacian = self._surface(points, knobs, "laplacian" in want)
        alpha, normals = ops.surface_sections(
            sdf,
            grad,
            dirs,
            samples.dt,
            self.log_sharpness,
            knobs.sharpness_cap,
            knobs.cos_anneal,
            self.cos_from == "normal",
        )
        if samples.count is not None:
            alpha = alpha * (samples.dt > 0)  # padding is a section of length 0, which is empty
        elif not (torch.is_grad_enabled() or ops.on_card()):  # a card would wait for the count
            kept = ops.visible(alpha, samples.offsets, UNSEEN)
            samples, seen = kept_samples(samples, kept), torch.nonzero(kept)[:, 0]
            points, sdf, feature, grad, alpha, normals = (
                known[seen] for known in (points, sdf, feature, grad, alpha, normals)
            )
            laplacian = None if laplacian is None else laplacian[seen]
        facing = normals if self.shading_normal == "unit" else grad
        shade = self.color_field(
            feature, rays.dirs, points / self.radius, facing, samples.ray_index, views=rays.view
        )
        rgb = shade.rgb
        if self.near_scaling:
            alpha, rgb = scale_near(alpha, samples), scale_near(rgb, samples)
        sums = composite(samples, alpha, rgb, normals if "normal" in want else None)
        color, behind = self.over_background(
            rays, sums.rgb, sums.opacity, knobs.behind, generator, knobs.sampling, self.interval
        )
        surface: dict[str, Tensor] = {}
        if want & SURFACE:
            met = first_crossing(samples, sdf, grad)
            surface = {"surface_met": met.met, "surface_t": met.t, "surface_normal": met.normal}
        return RenderOut(
            rgb=color,
            opacity=sums.opacity,
            depth=sums.depth,
            samples=samples,
            weights=sums.weights,
            normal=sums.normal,
            sdf=sdf,
            sdf_grad=grad,
            laplacian=laplacian,
            detail=knobs.detail,
            levels={**sampled.levels, **behind},
            ray_extras=surface,
            sample_extras=shade.extras,
        )

    def level(self, points: Float[Tensor, "p 3"], knobs: NeuSKnobs) -> Float[Tensor, " p"]:
        return self.field.level(points, knobs.window)

    def color(
        self, points: Float[Tensor, "p 3"], dirs: Float[Tensor, "p 3"], knobs: NeuSKnobs
    ) -> Float[Tensor, "p 3"]:
        _, feature, grad, _ = self._surface(points, knobs, want_laplacian=False)
        if self.shading_normal == "unit":
            grad = F.normalize(grad, dim=-1, eps=opacity.NORMAL_EPS)
        return self.color_field(feature, dirs, points / self.radius, grad).rgb

    def update(self, knobs: NeuSKnobs, generator: torch.Generator, samples: int = 0) -> None:
        def occupancy(points: Tensor, cell: float) -> Tensor:
            f = self.field.level(points, knobs.window)
            if self.occupancy == "hollow":
                # The surface may pass anywhere in the cell that the probe point stands for.
                shell = (f.abs() - 0.75 * math.sqrt(3) * cell).clamp_min(0.0)
                # A ray that enters the box inside the solid crosses no surface: without samples at the
                # wall a field that is negative everywhere would render nothing and never recover.
                wall = points.abs().amax(-1) > self.radius - 4 * cell
                f = torch.where(wall & (f < 0), f, shell)
            half = 0.5 * self.step_size(knobs)
            return opacity.crossing_opacity(f + half, f - half, self.sharpness(knobs).detach())

        self.sampler.update(knobs.step, occupancy, generator, samples)
        self.update_background(knobs, knobs.behind, generator, samples)

    def stats(self) -> dict[str, float]:
        """The learned sharpness s, in 1 / normalised unit, without its cap."""
        return {"sharpness": float(torch.exp(10 * self.log_sharpness.detach()).clamp(1e-6, 1e6))}


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"model.{name} is one of {', '.join(choices)}, found {value!r}")
