"""The gradient of one training step, from a batch in one piece or in parts.

A part is some rows of the batch: a share of a process, or a turn of one that has not the memory for all rows at once.
The sum of the parts' gradients is the gradient of the whole batch, because each mean of the loss is weighed by what
it is taken over, and because the parts have the random numbers of the whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isosweep.losses.total import TotalLoss
from isosweep.models.base import Model
from isosweep.models.crossing import blocked
from isosweep.training.team import ALONE, Team
from isosweep.types import Batch, Knobs, Photos, Randomness, RenderOut, RowsOf, Sampled

CLEAR = 0.02
"""How far from the surface, in radii of the box, a line of sight begins: the surface is not exact yet."""
N_MARCH = 16
"""Places at which a line of sight is looked at."""


@dataclass(frozen=True)
class Moment:
    """When a step is: what of it depends on its number."""

    step: int
    max_steps: int
    knobs: Knobs
    logged: bool = False
    """Whether its scalars are written, so that the squared error is wanted."""


@dataclass(frozen=True)
class Outcome:
    """What a step computed, over all parts of its batch. Tensors stay on the device, so that nobody waits for it."""

    total: Tensor
    """The loss []."""
    terms: dict[str, Tensor]
    """Each term's value [] before its weight."""
    mse: Tensor | None
    """Mean of (C - C*)^2 over rays and channels, []; None in a step that is not logged."""
    n_rays: int
    n_samples: int
    """Of the final round."""
    cost: int
    """Samples of all rounds, from which the next number of rays follows."""
    empty: Tensor | None = None
    """Share of rays [] in which a network sees nothing at all (``empty_rays``); None in a step that is not logged."""


def gradient(
    model: Model,
    loss: TotalLoss,
    batch: Batch,
    moment: Moment,
    generator: torch.Generator,
    *,
    scaler: torch.amp.GradScaler,
    autocast: torch.dtype | None = None,
    micro_batches: int = 1,
    team: Team = ALONE,
) -> Outcome:
    """Add the gradient of the loss on ``batch``, which is the team's joined batch, to each process's parameters.

    Args:
        batch: the joined batch, the same in each process of the team, which computes its own share of the rows.
        generator: of the samples' offsets; in the same state in each process.
        autocast: the type of colour and density networks; None for float32.
        micro_batches: parts that follow one another, each of which needs its part of the memory.
    """
    step = Step(model, loss, moment, scaler, autocast)
    n, n_points = len(batch.rays), 0 if batch.points is None else len(batch.points)
    micro_batches = max(1, min(micro_batches, n // team.size))
    many = team.size * micro_batches
    if many == 1:
        out = step.render(batch, step.sample(batch, generator), generator)
        return step.descend(out, batch)
    rows, points = _split(n, many), _split(n_points, many)
    mine = range(team.rank * micro_batches, (team.rank + 1) * micro_batches)
    parts = [part_of(batch, rows[k], points[k]) for k in mine]
    return _in_parts(step, parts, [RowsOf(generator, rows[k].start, n) for k in mine], team)


def part_of(batch: Batch, rows: slice, points: slice) -> Batch:
    """Some rows of a batch, and some of its points."""
    whole = batch.rays
    rays = replace(
        whole,
        origins=whole.origins[rows],
        dirs=whole.dirs[rows],
        background=whole.background[rows],
        near=None if whole.near is None else whole.near[rows],
        radius=None if whole.radius is None else whole.radius[rows],
        view=None if whole.view is None else whole.view[rows],
    )
    return Batch(
        rays=rays,
        rgb=batch.rgb[rows],
        mask=None if batch.mask is None else batch.mask[rows],
        points=None if batch.points is None else batch.points[points],
        ray_extras={name: value[rows] for name, value in batch.ray_extras.items()},
        photos=batch.photos,
    )


def _split(n: int, parts: int) -> list[slice]:
    """``n`` rows in parts as equal as can be."""
    return [slice(n * k // parts, n * (k + 1) // parts) for k in range(parts)]


@dataclass(frozen=True)
class Step:
    """One step: samples, render, and the way back."""

    model: Model
    loss: TotalLoss
    moment: Moment
    scaler: torch.amp.GradScaler
    autocast: torch.dtype | None

    def sample(self, batch: Batch, source: Randomness) -> Sampled:
        with self._autocast(batch):
            return self.model.sample(batch.rays, self.moment.knobs, source)

    def render(self, batch: Batch, sampled: Sampled, source: Randomness | None) -> RenderOut:
        with self._autocast(batch):
            out = self.model.render(batch.rays, sampled, self.moment.knobs, self.loss.wants, source)
            if batch.photos is not None:
                hidden = self._hidden(batch, batch.photos, out)
                out = replace(out, ray_extras={**out.ray_extras, "hidden": hidden})
            if batch.points is None:
                return out
            return replace(out, point_level=self.model.level(batch.points, self.moment.knobs))

    def _hidden(self, batch: Batch, photos: Photos, out: RenderOut) -> Bool[Tensor, "r k"]:
        """Whether the surface hides each ray's surface point from the cameras that it is to be compared with.

        Looked at where the batch has patches.
        """
        view, marked = batch.ray_extras["view"], batch.ray_extras["patch"]
        hidden = torch.zeros(len(view), photos.sources.shape[1], dtype=torch.bool, device=view.device)
        with torch.no_grad():
            rows = (marked & out.ray_extras["surface_met"]).nonzero()[:, 0]
            if len(rows) == 0:
                return hidden
            normal = out.ray_extras["surface_normal"][rows]
            t = out.ray_extras["surface_t"][rows, None]
            points = batch.rays.origins[rows] + t * batch.rays.dirs[rows] + CLEAR * self.model.radius * normal
            eyes = photos.eyes(view[rows])
            start = points[:, None].expand_as(eyes).reshape(-1, 3)

            def level(p: Tensor) -> Tensor:
                return self.model.level(p, self.moment.knobs)

            met = blocked(level, start, eyes.reshape(-1, 3) - start, self.model.radius, N_MARCH)
            hidden[rows] = met.view(len(rows), -1)
        return hidden

    def descend(
        self,
        out: RenderOut,
        batch: Batch,
        share: Tensor | None = None,
        part: float = 1.0,
        weights: Tensor | None = None,
    ) -> Outcome:
        """Go back through what was rendered.

        Args:
            share, weights: of the terms, see ``TotalLoss``.
            part: of the joined batch's rays.
        """
        total, terms = self.loss(out, batch, self.moment.step, self.moment.max_steps, share, weights)
        self.scaler.scale(total).backward()
        mse = empty = None
        if self.moment.logged:
            mse = (out.rgb - batch.rgb).detach().square().mean() * part
            empty = empty_rays(out).to(mse.dtype).mean() * part
        return Outcome(
            total=total.detach(),
            terms={name: value.detach() for name, value in terms.items()},
            mse=mse,
            n_rays=len(batch.rays),
            n_samples=len(out.samples),
            cost=out.n_samples,
            empty=empty,
        )

    def _autocast(self, batch: Batch) -> torch.autocast:
        # A cast weight is used once, and a recorded step must not keep one between its runs: no cache.
        kind, there = batch.rgb.device.type, self.autocast is not None
        return torch.autocast(kind, dtype=self.autocast, enabled=there, cache_enabled=False)


def _in_parts(step: Step, parts: Sequence[Batch], sources: Sequence[RowsOf], team: Team) -> Outcome:
    """The outcome of the joined batch, of which ``parts`` are this process's."""
    generator = sources[0].generator
    before = generator.get_state()
    early: list[Sampled | None] = [None] * len(parts)
    if not step.loss.counts_rays_only:
        # A mean over samples needs their number in the whole batch before the first gradient.
        for k, (part, source) in enumerate(zip(parts, sources, strict=True)):
            generator.set_state(before)
            early[k] = step.sample(part, source)
        before = generator.get_state()
    counts = [_counts(step, *one, before) for one in zip(parts, early, sources, strict=True)]
    whole = team.sum(torch.stack(counts).sum(0)).clamp_min(1.0)
    outcomes: list[Outcome] = []
    for k, (part, source) in enumerate(zip(parts, sources, strict=True)):
        generator.set_state(before)
        sampled = early[k] or step.sample(part, source)
        if k == len(parts) - 1:
            team.last_backward()
        share, rays = counts[k] / whole, len(part.rays) / source.total
        outcomes.append(step.descend(step.render(part, sampled, source), part, share, rays))
        early[k] = None
    team.gradients()
    return _joined(outcomes, team)


def _counts(
    step: Step, part: Batch, sampled: Sampled | None, source: RowsOf, before: Tensor
) -> Float[Tensor, " t"]:
    if not step.loss.counts_rendered:
        return step.loss.counts(part, sampled)
    # A level behind the box is sampled only when the box has been rendered: once more, without gradients.
    assert sampled is not None, "such a term is a mean over rays that are hit"
    source.generator.set_state(before)
    with torch.no_grad():
        return step.loss.counts(part, step.render(part, sampled, source))


def empty_rays(out: RenderOut) -> Bool[Tensor, " r"]:
    """Whether the opacity of each ray is exactly 0, in the final round or in another one of the box.

    A relu density that is 0 along a ray passes no gradient back from it.
    """
    rounds = [level.opacity for name, level in out.levels.items() if not name.startswith("background")]
    found = [out.opacity, *(opacity for opacity in rounds if opacity is not None)]
    return torch.stack([opacity.detach() <= 0 for opacity in found]).any(0)


def _joined(parts: Sequence[Outcome], team: Team) -> Outcome:
    logged = parts[0].mse is not None
    values = [torch.stack(_scalars(part)) for part in parts]
    numbers = zip(*((part.n_rays, part.n_samples, part.cost) for part in parts), strict=True)
    total, *terms = team.sum(torch.stack(values).sum(0))
    empty = terms.pop() if logged else None
    mse = terms.pop() if logged else None
    n_rays, n_samples, cost = team.count([sum(of_parts) for of_parts in numbers])
    named = dict(zip(parts[0].terms, terms, strict=True))
    return Outcome(total, named, mse, n_rays, n_samples, cost, empty)


def _scalars(part: Outcome) -> list[Tensor]:
    logged = [value for value in (part.mse, part.empty) if value is not None]
    return [part.total, *part.terms.values(), *logged]
