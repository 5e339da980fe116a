"""Everything outside the foreground box: a density field over all of space.

Shapes: R rays, B packed background samples.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep.bounds import Count, Positive
from isosweep.encodings.base import Encoding
from isosweep.errors import InputError
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.models.compositing import closed_end, composite
from isosweep.models.space import ContractedBall, Space
from isosweep.samplers.base import (
    Probe,
    Sampler,
    SamplerKnobs,
    density_alpha,
    kept_samples,
    pack,
    sample_points,
    uniform,
)
from isosweep.samplers.cells import Cells
from isosweep.samplers.spacing import check_spacing, distances, inverse_radii
from isosweep.types import Level, Randomness, Rays, Samples

SPACINGS = ("geometric", "disparity", "inverse_radius")


class Background(nn.Module):
    """Radiance of the space outside the box, sampled from the box's exit to ``far``.

    Its field reads the coordinates of ``space``: by default those of the sphere contraction (Barron et al. 2022,
    mip-NeRF 360, equation 10, in units of the box's radius). Sections are spaced by ``spacing``: 'geometric', where
    t_k = t_0 (far / t_0)^(k / n), the closed form of steps proportional to the distance; 'disparity', even in 1 / t
    (the code of NeuS, Wang et al. 2021); or 'inverse_radius', even in the inverse distance from the scene's middle
    (NeRF++, Zhang et al. 2020).

    Args:
        encoding: of the space's coordinates, its own and not the foreground's.
        density: builds the density field from the encoding.
        color: the colour field.
        radius: half the side of the foreground box.
        n_samples: sections a ray.
        near: where a ray that misses the box starts.
        far: end of the last section, normalised units.
        opaque: the last section of a ray lets no light through, as if it had no end (the code of Mildenhall et
            al. 2020; mip-NeRF 360). Every ray then ends on something the model has learned, and none on
            ``rays.background``.
        cells: of contracted space; a section in an empty one is dropped, but for the last of a ray. Then many short
            sections cost no more than few long ones. None keeps all.
        space: from points to the encoding's coordinates; None is ``ContractedBall``.
        spacing: of the sections, see above.
        sampler: places the sections instead, with a spacing of its own (``sampler@model.background.sampler=proposal``).

    Raises:
        InputError: there is no such spacing, the encoding does not fit the space, cells are given and the space or the
            spacing is another than theirs, or the sampler needs more than a density, or a box.
    """

    def __init__(
        self,
        encoding: Encoding,
        density: Callable[[Encoding], DensityField],
        color: ColorField,
        radius: Positive = 1.0,
        n_samples: Count = 32,
        near: Positive = 0.1,
        far: Positive = 1e3,
        opaque: bool = False,
        cells: Cells | None = None,
        space: Space | None = None,
        spacing: str = "geometric",
        sampler: Sampler | None = None,
    ) -> None:
        super().__init__()
        self.space = ContractedBall() if space is None else space
        self.space.check(encoding)
        self.spacing = check_spacing(spacing, SPACINGS, "model.background.spacing")
        theirs = isinstance(self.space, ContractedBall) and spacing == "geometric" and sampler is None
        if cells is not None and not theirs:
            with_ = f"spacing {spacing}" if sampler is None else f"sampler {type(sampler).__name__}"
            raise InputError(
                "model.background.cells are cells of a contracted ball with geometric sections, found space "
                f"{type(self.space).__name__} with {with_}: set model.background.cells=null"
            )
        self.sampler = _fitting(sampler, self.space)
        self.density, self.color_field = density(encoding), color
        self.radius, self.n_samples, self.near, self.far = radius, n_samples, near, far
        self.opaque = opaque
        self.cells = cells

    def update(self, step: int, window: Tensor | None, generator: torch.Generator, samples: int = 0) -> None:
        """Tell the cells the opacity of a section that has its length there; nothing without cells.

        A section at the distance r from the origin is about r ((far / radius)^(1 / n) - 1) long.

        Args:
            window: weight [D] of each feature of the encoding; None weighs all with 1.
            generator, samples: as in ``Cells.refresh``.
        """
        if self.cells is None:
            return
        growth = (self.far / self.radius) ** (1 / self.n_samples) - 1

        def opacity(points: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
            norm = 2 * points.norm(dim=-1)  # of contracted points: 1 on the sphere, 2 at infinity
            density, _ = self.density(points / 2 + 0.5, window)
            length = growth * self.radius / (2 - norm).clamp_min(self.radius / self.far)
            return -torch.expm1(-density * length) * ((norm > 1) & (norm < 2))

        self.cells.refresh(step, opacity, generator, samples)

    def sample(
        self, rays: Rays, start: Float[Tensor, " r"], active: Tensor, generator: Randomness | None
    ) -> Samples:
        """``n_samples`` packed sections, from ``start`` to ``far``, for each ray that is ``active``.

        Their edges lie at the places (k + e) / n of ``spacing``; if it is geometric, t_k = start (far / start)^((k + e)
        / n). In training a ray has one random e in [-1/2, 1/2) for its inner edges, so that sections stay proportional.

        Args:
            rays: R of them.
            start: distance [R] of the first edge, normalised units, above 0.
            active: bool [R].
            generator: of e; None takes e = 0.
        """
        k = torch.arange(self.n_samples + 1, device=start.device, dtype=start.dtype)
        if generator is None:
            shift = torch.zeros((), device=start.device)
        else:
            # One offset a ray moves all its inner edges together: sections stay proportional.
            shift = uniform(len(start), (1,), generator, start.device) - 0.5
        inner = (k > 0) & (
            k < self.n_samples
        )  # the first section begins at the box, the last one ends at far
        place = ((k + shift * inner) / self.n_samples).expand(len(start), -1)
        end = torch.full_like(start, self.far)
        if self.spacing == "inverse_radius":
            return pack(inverse_radii(rays, place, start, end), active)
        return pack(distances(self.spacing, place, start, end), active)

    @property
    def proposals(self) -> dict[str, tuple[str, ...]]:
        """Fields of the levels that its sampler makes: 'background_proposal_0' and so on."""
        return {} if self.sampler is None else {f"background_{k}": v for k, v in self.sampler.levels.items()}

    def forward(
        self,
        rays: Rays,
        exit_: Float[Tensor, " r"],
        opacity: Float[Tensor, " r"],
        window: Float[Tensor, " d"] | None,
        generator: Randomness | None,
    ) -> Level:
        """The radiance [R, 3] behind the foreground, composited over ``rays.background``; with its samples and weights.

        The arguments are those of ``levels``.
        """
        return self.levels(rays, exit_, opacity, window, generator)["background"]

    def levels(
        self,
        rays: Rays,
        exit_: Float[Tensor, " r"],
        opacity: Float[Tensor, " r"],
        window: Float[Tensor, " d"] | None,
        generator: Randomness | None,
        knobs: SamplerKnobs | None = None,
    ) -> dict[str, Level]:
        """The level 'background', as ``forward`` returns it, and the rounds of its sampler.

        Args:
            exit_: distance [R] in normalised units at which each ray leaves the box, 0 where it misses.
            opacity: [R] in [0, 1], of the foreground; rays that let less than 1e-4 through are not sampled.
            window: weight [D] of each feature of the encoding; None weighs all with 1.
            generator: of the sections' offsets; None for evaluation.
            knobs: of the sampler.
        """
        start = torch.where(exit_ > 0, exit_, torch.full_like(exit_, self.near))
        if rays.near is not None:
            start = torch.maximum(start, rays.near)
        samples, rounds = self._sampled(rays, start, opacity.detach() < 1 - 1e-4, window, generator, knobs)
        points, dirs = sample_points(rays, samples)
        u = self.space.coordinates(points / self.radius)
        if self.cells is not None and len(samples):
            kept = self.cells.holds(2 * u - 1)
            kept[samples.offsets[1:] - 1] = True  # the end of each ray
            samples, u, dirs = kept_samples(samples, kept), u[kept], dirs[kept]
        density, feature = self.density(u, window)
        views = None if rays.view is None else rays.view[samples.ray_index]
        rgb = self.color_field(feature, dirs, views=views).rgb
        alpha = density_alpha(density, samples)
        if self.opaque:
            alpha = closed_end(alpha, samples)
        sums = composite(samples, alpha, rgb)
        color = sums.rgb + (1 - sums.opacity)[:, None] * rays.background
        return {"background": Level(samples, sums.weights, color, sums.opacity, sums.depth), **rounds}

    def _sampled(
        self,
        rays: Rays,
        start: Tensor,
        active: Tensor,
        window: Tensor | None,
        generator: Randomness | None,
        knobs: SamplerKnobs | None,
    ) -> tuple[Samples, Mapping[str, Level]]:
        """The sections, and the rounds that led to them."""
        if self.sampler is None:
            return self.sample(rays, start, active, generator), {}

        def unit(points: Tensor) -> Tensor:
            return self.space.coordinates(points / self.radius)

        probe = Probe(
            density=lambda points: self.density(unit(points), window)[0],
            unit=unit,
            closed=self.opaque,
            knobs=knobs,
        )
        end = torch.where(active, torch.full_like(start, self.far), start)
        found = self.sampler.sample(rays, start, end, self.far, probe, generator)
        return found.samples, {f"background_{name}": level for name, level in found.levels.items()}


def _fitting(sampler: Sampler | None, space: Space) -> Sampler | None:
    if sampler is None:
        return None
    name = type(sampler).__name__
    if sampler.needs == "level" or sampler.in_box:
        raise InputError(
            f"model.background.sampler={name} looks for a surface, or in a box: use uniform, hierarchical or proposal"
        )
    if sampler.levels and space.dim != 3:
        raise InputError(
            f"model.background.sampler={name} has fields of 3 coordinates, and space {type(space).__name__} has "
            f"{space.dim}: use a space that is contracted, or model.background.sampler=null"
        )
    return sampler
