"""Training steps as CUDA graphs: the kernels of a step are recorded once and started together ever after.

A recorded step has the same shapes each time and reads nothing back. So the samples are chosen before it, which takes
the step's one read, and are padded to a size of which there are few; the number of rays is held as long as it fits.
"""

import logging
from collections import OrderedDict
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from isosweep import ops
from isosweep.losses.total import TotalLoss, on_device
from isosweep.models.base import Model
from isosweep.training.step import Moment, Outcome, Step
from isosweep.types import Batch, Knobs, Rays, Sampled, Samples

_Part = TypeVar("_Part", Rays, Samples, Knobs)

log = logging.getLogger("isosweep")

PADDING = 32
"""A batch is padded to a multiple of this part of the samples that it aims at."""
HELD = 0.125
"""The number of rays is kept while the one that the samples ask for differs by no more than this share of it."""
KEPT = 4
"""Recorded steps, each with shapes of its own, that are kept."""
WARM_UP = 2
"""Steps that run before one is recorded, so that kernels are compiled and constants are on the card."""


def hindrance(model: Model, loss: TotalLoss) -> str | None:
    """Why the steps of this run cannot be recorded; None if they can."""
    if model.background is not None:
        return "the samples behind the box depend on what has been rendered in it"
    if model.sampler.asks_for or model.sampler.levels:
        return f"sampler {type(model.sampler).__name__} renders a round of samples itself"
    if loss.points:
        return "the number of structure-from-motion points differs from batch to batch"
    if not loss.counts_padded:
        return "a term of the loss reads whole rays of samples (distortion)"
    return None


def held_ray_count(samples: int, rays: int, target: int, bounds: tuple[int, int]) -> int:
    """Like ``next_ray_count``, but in few steps: the same number of rays as long as it is about right."""
    if target == 0 or samples == 0:
        return rays
    ideal = min(max(rays * target / samples, bounds[0]), bounds[1])
    return rays if abs(ideal - rays) <= HELD * rays else int(ideal)


def bucket(samples: int, target: int) -> int:
    """The size to which so many samples are padded."""
    unit = max(256, target // PADDING)
    return -(-samples // unit) * unit


def padded(samples: Samples, size: int) -> Samples:
    """The samples with sections of length 0 after them, ``size`` in all; ``count`` says how many are real.

    Padding repeats the place of the first sample, which is inside the box, and belongs to the last ray.
    """
    n, more = len(samples), size - len(samples)
    if n == 0 or more < 0:
        raise ValueError(f"{n} samples cannot be padded to {size}")

    def repeat(values: Tensor) -> Tensor:
        return torch.cat([values, values[:1].expand(more)])

    offsets = samples.offsets.clone()
    offsets[-1] = size
    dt = torch.cat([samples.dt, samples.dt.new_zeros(more)])
    ops.mark_sound(offsets, size)
    count = torch.full((), n, device=samples.t.device)
    return Samples(repeat(samples.ray_index), repeat(samples.t), dt, offsets, count)


@dataclass(frozen=True)
class Inputs:
    """All tensors that a recorded step reads, beside the model's own. Their shapes name the recording."""

    rays: Rays
    rgb: Tensor
    mask: Tensor | None
    samples: Samples
    knobs: Knobs
    weights: Tensor
    """Of the loss terms."""

    @property
    def shapes(self) -> tuple[object, ...]:
        return (*((tuple(t.shape), t.dtype) for t in self._tensors()), self.mask is None)

    def copied(self) -> "Inputs":
        """The same values in memory of their own, which the recording reads."""
        samples = _copied(self.samples)
        ops.mark_sound(samples.offsets, len(samples))  # for the recording; replays check nothing
        return Inputs(
            _copied(self.rays),
            self.rgb.clone(),
            None if self.mask is None else self.mask.clone(),
            samples,
            _copied(self.knobs),
            self.weights.clone(),
        )

    def take(self, other: "Inputs") -> None:
        """Copy the values of ``other`` into this memory."""
        for mine, theirs in zip(self._tensors(), other._tensors(), strict=True):
            mine.copy_(theirs, non_blocking=True)

    def _tensors(self) -> list[Tensor]:
        whole = [self.rgb, self.weights, *([] if self.mask is None else [self.mask])]
        return whole + [t for part in (self.rays, self.samples, self.knobs) for t in _members(part).values()]


def _copied(part: _Part) -> _Part:
    return replace(part, **{name: tensor.clone() for name, tensor in _members(part).items()})  # pyright: ignore[reportArgumentType]


def _members(part: Rays | Samples | Knobs) -> dict[str, Tensor]:
    values = {f.name: getattr(part, f.name) for f in fields(part)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def body(
    model: Model,
    loss: TotalLoss,
    scaler: torch.amp.GradScaler,
    autocast: torch.dtype | None,
    given: Inputs,
    moment: Moment,
) -> Outcome:
    """What is recorded: from samples to the gradients of the parameters. Nothing here reads a value on the host."""
    step = Step(model, loss, replace(moment, knobs=given.knobs, logged=True), scaler, autocast)
    batch = Batch(given.rays, given.rgb, given.mask)
    out = step.render(batch, Sampled(given.samples), None)
    return step.descend(out, batch, weights=given.weights)


@dataclass
class _Recording:
    graph: torch.cuda.CUDAGraph
    given: Inputs
    found: Outcome
    gradients: list[Tensor | None]


class Graphs:
    """The recorded steps of a run, by the shapes of their inputs.

    Args:
        target: samples that a batch aims at.
    """

    def __init__(
        self,
        model: Model,
        loss: TotalLoss,
        scaler: torch.amp.GradScaler,
        autocast: torch.dtype | None,
        target: int,
    ) -> None:
        self._model, self._loss, self._scaler, self._autocast = model, loss, scaler, autocast
        self._target, self._recordings = target, OrderedDict[tuple[object, ...], _Recording]()
        self.failed = False
        """Whether a recording failed. No step is recorded after that."""

    def gradient(self, batch: Batch, moment: Moment, generator: torch.Generator) -> Outcome | None:
        """As ``step.gradient``, from a recorded step; None if it cannot be had, with the generator as it was."""
        before = generator.get_state()
        step = Step(self._model, self._loss, moment, self._scaler, self._autocast)
        samples = step.sample(batch, generator).samples
        if len(samples) == 0:
            generator.set_state(before)
            return None
        weights = self._loss.weights(moment.step, moment.max_steps)
        given = Inputs(
            batch.rays,
            batch.rgb,
            batch.mask,
            padded(samples, bucket(len(samples), self._target)),
            moment.knobs,
            on_device(weights, batch.rgb.dtype, batch.rgb.device),
        )
        key = (given.shapes, tuple(weight != 0 for weight in weights))
        recording = self._recordings.get(key)
        if recording is None:
            recording = self._record(given, moment)
            if recording is None:
                generator.set_state(before)
                return None
            self._recordings[key] = recording
            if len(self._recordings) > KEPT:
                self._recordings.popitem(last=False)
        self._recordings.move_to_end(key)
        recording.given.take(given)
        recording.graph.replay()
        for parameter, gradient in zip(self._model.parameters(), recording.gradients, strict=True):
            parameter.grad = gradient
        return replace(recording.found, n_samples=len(samples), cost=len(samples))

    def _record(self, given: Inputs, moment: Moment) -> _Recording | None:
        given, graph = given.copied(), torch.cuda.CUDAGraph()
        try:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    self._forget_gradients()
                    self._body(given, moment)
            torch.cuda.current_stream().wait_stream(side)
            self._forget_gradients()  # so that the recording allocates them in its own memory
            with torch.cuda.graph(graph):
                found = self._body(given, moment)
        except RuntimeError as error:
            self.failed = True
            first = str(error).partition("\n")[0]
            log.warning(
                "train.cuda_graphs: a step cannot be recorded (%s); steps are launched one kernel at a time",
                first,
            )
            self._forget_gradients()
            return None
        return _Recording(graph, given, found, [p.grad for p in self._model.parameters()])

    def _body(self, given: Inputs, moment: Moment) -> Outcome:
        return body(self._model, self._loss, self._scaler, self._autocast, given, moment)

    def _forget_gradients(self) -> None:
        for parameter in self._model.parameters():
            parameter.grad = None
