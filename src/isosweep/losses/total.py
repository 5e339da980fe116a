"""The weighted sum of loss terms."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.bounds import Count, Positive
from isosweep.config import schedules
from isosweep.errors import InputError, NumericalError
from isosweep.losses.counts import OF_BATCH
from isosweep.types import DISTANCE, Batch, RenderOut, Sampled

POINTS = "batch.points"
SEEN = f"batch.ray_extras.{DISTANCE}"
PHOTOS = "batch.photos"
LEARNS_FROM = {
    "levels.proposal_0.weights": "interlevel",
    "levels.background_proposal_0.weights": "background_interlevel",
}
"""What a model returns that has parts which learn from one term alone -> that term."""


class NonFiniteLoss(NumericalError):
    """A loss term became nan or inf; the message names the first one and the step."""


class TotalLoss:
    """sum over terms of weight(step) * term(out, batch).

    Args:
        terms: name -> {weight: number or schedule, fn: function of (out, batch)}; a term that is
            None or whose weight is the number 0 is off.
        masks: whether training sees the data set's masks (read by the dataset group).
        points: structure-from-motion points drawn a batch where a term reads them.
        point_rays: where a term reads how far away such points are, so many rays that lead to one are added to each
            ray of the batch.
        patches: rays of a batch around which a term may compare patches of images.
    """

    def __init__(
        self,
        terms: Mapping[str, Mapping[str, Any] | None],
        masks: bool = True,
        points: Count = 1024,
        point_rays: Positive = 0.25,
        patches: Count = 64,
    ) -> None:
        if points < 1:
            raise InputError(f"loss.points={points}: draw at least one, or set the weight of sfm to 0")
        if point_rays <= 0:
            raise InputError(
                f"loss.point_rays={point_rays}: give a number above 0, or set the weight of point_distance to 0"
            )
        if patches < 1:
            raise InputError(f"loss.patches={patches}: take at least one, or set the weight of photo to 0")
        self.masks = masks
        self.terms: dict[str, tuple[Any, Callable[[RenderOut, Batch], Tensor]]] = {}
        for name, term in terms.items():
            if term is None:
                continue
            schedules.check(term["weight"], f"loss.terms.{name}.weight")
            if term["weight"] != 0:
                self.terms[name] = (term["weight"], term["fn"])
        self.points = points if any(POINTS in self.needs(name) for name in self.terms) else 0
        self.point_rays = point_rays if any(SEEN in self.needs(name) for name in self.terms) else 0.0
        self.patches = patches if any(PHOTOS in self.needs(name) for name in self.terms) else 0
        if not self.terms:
            raise InputError(
                f"the loss has no active term (of {', '.join(terms) or 'none'}): give one a weight above 0"
            )

    def needs(self, name: str) -> frozenset[str]:
        """RenderOut and Batch fields that one active term reads: ``levels.<level>.<field>`` where it names a level."""
        fn = self.terms[name][1]
        fields = getattr(fn, "func", fn).needs
        level = getattr(fn, "keywords", {}).get("level")
        if level is None:
            return fields
        return frozenset(f if f.startswith("batch.") else f"levels.{level}.{f}" for f in fields)

    @property
    def reading_masks(self) -> list[str]:
        """Names of the active terms that read the masks."""
        return [name for name in self.terms if "batch.mask" in self.needs(name)]

    @property
    def wants(self) -> frozenset[str]:
        """RenderOut fields that the active terms read."""
        every = frozenset().union(*(self.needs(name) for name in self.terms))
        return frozenset(field for field in every if not field.startswith("batch."))

    def check(
        self,
        model: str,
        provides: frozenset[str],
        has_masks: bool | None = None,
        has_points: bool | None = None,
        has_sightings: bool | None = None,
    ) -> None:
        """Check that every active term finds what it reads.

        Args:
            model: its name, for the message.
            provides: RenderOut fields that the model can return.
            has_masks, has_points: whether the training batch has them; None while the scene is not known.
            has_sightings: whether training views are known to see points in the box; None likewise.

        Raises:
            InputError: a term reads what is not there.
        """
        for field, term in LEARNS_FROM.items():
            if field in provides and field not in self.wants:
                raise InputError(
                    f"model '{model}' has a sampler with proposal networks, which learn from loss term '{term}' "
                    f"and from nothing else: set loss.terms.{term}.weight=1, or use another sampler"
                )
        for name in self.terms:
            fields = self.needs(name)
            missing = sorted(f for f in fields if not f.startswith("batch.") and f not in provides)
            if missing:
                raise InputError(
                    f"loss term '{name}' reads {missing}, which model '{model}' does not return "
                    f"(it returns {sorted(provides)}): pick another loss= or set loss.terms.{name}.weight=0"
                )
            if "batch.mask" in fields and has_masks is False:
                raise InputError(
                    f"loss term '{name}' reads the masks, and this run has none "
                    f"(loss.masks={str(self.masks).lower()}; masks are a mask/ folder or an alpha "
                    f"channel): use loss=nomask, model=neus_bg, or set loss.terms.{name}.weight=0"
                )
            if POINTS in fields and has_points is False:
                raise InputError(
                    f"loss term '{name}' reads structure-from-motion points inside the box, and this scene has none: "
                    "use dataset=colmap, dataset=nerfstudio with ply_file_path, or set "
                    f"loss.terms.{name}.weight=0"
                )
            if SEEN in fields and has_sightings is False:
                raise InputError(
                    f"loss term '{name}' reads how far away the points are that a view sees, and of no training view "
                    "of this scene is it known that it sees a structure-from-motion point inside the box: use "
                    f"dataset=colmap, or set loss.terms.{name}.weight=0"
                )

    def weights(self, step: int, max_steps: int) -> tuple[float, ...]:
        """The weight of each active term at a step, in their order."""
        return tuple(schedules.value(weight, step, max_steps) for weight, _ in self.terms.values())

    @property
    def counts_padded(self) -> bool:
        """Whether every term lets padding among the samples be (``Samples.count``)."""
        return all(self._over(name) in (("rays", None), ("samples", None)) for name in self.terms)

    @property
    def counts_rendered(self) -> bool:
        """Whether `counts` needs a level that only rendering makes, such as the background."""
        return any(self._over(name) == ("hit rays", "background") for name in self.terms)

    @property
    def counts_rays_only(self) -> bool:
        """Whether `counts` can be had before samples are chosen: each term is a mean over something of the batch."""
        return all(self._over(name)[0] in OF_BATCH for name in self.terms)

    def counts(self, batch: Batch, found: Sampled | RenderOut | None) -> Float[Tensor, " t"]:
        """What each active term is a mean over, in their order: the number [T] of rays, samples or points, or the area
        of the rays' pixels (counts.py), float64.

        The value of a term on a joined batch is sum over its parts of value * count / (sum of counts).

        Args:
            found: the samples of the batch, or its render; None will do if ``counts_rays_only``.
        """
        counts: list[Tensor] = []
        for name in self.terms:
            over, level = self._over(name)
            if over in OF_BATCH:
                count = OF_BATCH[over](batch)
            else:
                assert found is not None
                samples = found.samples if level is None else found.levels[level].samples
                hit = (samples.offsets.diff() > 0).sum()
                count = hit if over == "hit rays" else torch.tensor(len(samples), device=hit.device)
            counts.append(count.double())
        return torch.stack(counts)

    def _over(self, name: str) -> tuple[str, str | None]:
        """What a term is a mean over, and the level whose samples count."""
        fn = self.terms[name][1]
        term = getattr(fn, "func", fn)
        return term.over, getattr(fn, "keywords", {}).get("level", term.level)

    def __call__(
        self,
        out: RenderOut,
        batch: Batch,
        step: int,
        max_steps: int,
        share: Float[Tensor, " t"] | None = None,
        weights: Float[Tensor, " t"] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, and each term's value before its weight.

        Args:
            weights: of ``self.weights`` for this step, where they are on the device already.
            share: [T], for a part of a joined batch: its `counts` over those of the whole batch, by which the terms
                are multiplied. The totals of all parts then sum to that of the whole batch.
        """
        values = torch.stack([fn(out, batch) for _, fn in self.terms.values()])
        if share is not None:
            values = values * share.to(values.dtype)
        known = self.weights(step, max_steps)
        if weights is None:
            weights = on_device(known, values.dtype, values.device)
        if all(known):
            total = values @ weights
        else:  # a term that weighs nothing yet is left out: 0 times nan would be nan
            active = [k for k, weight in enumerate(known) if weight]
            total = torch.stack([values[k] for k in active]) @ torch.stack([weights[k] for k in active])
        return total, dict(zip(self.terms, values.detach().unbind(), strict=True))


@lru_cache(maxsize=8)
def on_device(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Values on the device; most steps have the weights of the step before, which are there already."""
    return torch.tensor(values, dtype=dtype, device=device)


def check_finite(total: Tensor, values: Mapping[str, Tensor], step: int, unseen: int = 0) -> None:
    """Raise NonFiniteLoss naming the terms that are nan or inf.

    Args:
        unseen: steps before this one whose loss nobody has looked at.
    """
    if bool(torch.isfinite(total)):
        return
    culprits = [name for name, value in values.items() if not bool(torch.isfinite(value))]
    found = ", ".join(f"{name}={values[name].item()}" for name in culprits) or f"total={total.item()}"
    earlier = f" or in the {unseen} steps before it" if unseen else ""
    raise NonFiniteLoss(
        f"the loss became non-finite at step {step}{earlier}: {found}. The last good checkpoint is kept; lower "
        "optim.lr_tables and optim.lr_networks, or set train.grad_clip=1, and resume"
    )
