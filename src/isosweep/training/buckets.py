"""Gradients that are summed over processes, in buckets that are sent while the backward pass goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

BUCKET_BYTES = 25 * 2**20
IN_PLACE_BYTES = 2**20
"""A gradient that is alone in its bucket is summed where it lies if it has this size: a copy would cost more."""


@runtime_checkable
class Work(Protocol):
    """A sum that is under way."""

    def wait(self) -> object: ...


@runtime_checkable
class Sum(Protocol):
    """Starts to sum a tensor over the processes, in its place."""

    def __call__(self, values: Tensor) -> Work: ...


@dataclass
class Bucket:
    """Parameters of one type whose gradients are sent together. A large one is alone, and is sent without a copy."""

    parameters: list[nn.Parameter]
    waiting: set[int] = field(default_factory=set)
    """Places of the parameters whose gradient is still to come in this backward pass."""
    flat: Tensor | None = None
    work: Work | None = None
    everywhere: Tensor | None = None
    """A one for each parameter: all have a gradient here."""

    @property
    def bytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.parameters)


class Buckets:
    """The buckets of a model, in the order in which a backward pass meets them: the last parameters come first.

    Every process sends the buckets in this order, whatever the order in which its gradients come: a sum over processes
    needs the same bucket from each.
    """

    def __init__(self, model: nn.Module, start: Sum, largest: int = BUCKET_BYTES) -> None:
        self._start = start
        self.all = _filled([p for p in reversed(list(model.parameters())) if p.requires_grad], largest)
        self._armed, self._next = False, 0
        self._handles = [
            p.register_post_accumulate_grad_hook(self._hook(bucket, place))
            for bucket in self.all
            for place, p in enumerate(bucket.parameters)
        ]

    @property
    def bytes(self) -> int:
        """Bytes of all gradients, as each process sends them in a step."""
        return sum(bucket.bytes for bucket in self.all)

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def arm(self) -> None:
        """The next backward pass completes the gradients."""
        self._armed, self._next = True, 0
        for bucket in self.all:
            bucket.waiting = set(range(len(bucket.parameters)))

    def finish(self) -> None:
        """Send what is left, and put the sums in the place of the gradients.

        A parameter without a gradient takes part with zeros. One without a gradient in any process keeps none, so that
        the optimiser leaves it alone, as it does in one process.
        """
        self._armed = False
        while self._next < len(self.all):
            self._send()
        for bucket in self.all:
            _receive(bucket)

    def _hook(self, bucket: Bucket, place: int):
        def arrived(_: Tensor) -> None:
            if not self._armed:
                return
            bucket.waiting.discard(place)
            while self._next < len(self.all) and not self.all[self._next].waiting:
                self._send()

        return arrived

    def _send(self) -> None:
        bucket = self.all[self._next]
        self._next += 1
        first = bucket.parameters[0]
        there = [p.grad is not None for p in bucket.parameters]
        if len(there) == 1 and bucket.bytes >= IN_PLACE_BYTES:
            # That a table has a gradient in some process is taken for granted.
            grad = torch.zeros_like(first) if first.grad is None else first.grad.contiguous()
            first.grad, bucket.flat = grad, None
            bucket.work = self._start(grad)
            return
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket.parameters]
        if bucket.everywhere is None or bucket.everywhere.dtype != first.dtype:
            bucket.everywhere = torch.ones(len(there), dtype=first.dtype, device=first.device)
        known = bucket.everywhere if all(there) else first.new_tensor(there)
        bucket.flat = torch.cat([*(part.reshape(-1) for part in parts), known])
        bucket.work = self._start(bucket.flat)


def _receive(bucket: Bucket) -> None:
    assert bucket.work is not None
    bucket.work.wait()
    bucket.work = None
    if bucket.flat is None:
        return
    sizes = [p.numel() for p in bucket.parameters]
    *sums, known = bucket.flat.split([*sizes, len(sizes)])
    absent = [k for k, p in enumerate(bucket.parameters) if p.grad is None]
    if absent:  # the host reads only then
        nowhere = (known == 0).tolist()
        for k in absent:
            if not nowhere[k]:
                bucket.parameters[k].grad = torch.zeros_like(bucket.parameters[k])
    pairs = [
        (p.grad, s.view_as(p)) for p, s in zip(bucket.parameters, sums, strict=True) if p.grad is not None
    ]
    if pairs:
        grads, values = zip(*pairs, strict=True)
        torch._foreach_copy_(list(grads), list(values))  # pyright: ignore[reportPrivateImportUsage]
    bucket.flat = None


def _filled(parameters: Sequence[nn.Parameter], largest: int) -> list[Bucket]:
    """Neighbours of one type and device together, up to ``largest`` bytes; one that is larger by itself."""
    made: list[Bucket] = []
    for parameter in parameters:
        size = parameter.numel() * parameter.element_size()
        last = made[-1] if made else None
        fits = last is not None and last.bytes + size <= largest
        if last is not None and fits and _alike(last.parameters[0], parameter):
            last.parameters.append(parameter)
        else:
            made.append(Bucket([parameter]))
    return made


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.device == other.device
