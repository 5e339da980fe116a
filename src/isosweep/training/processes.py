"""A team of several processes, a graphics card for each, over torch.distributed.

All processes draw the same random numbers, have the same weights, and take the rows of a joined batch that are theirs.
Gradients are summed, not averaged: each part's loss is divided by what the whole batch counts (training/step.py).
"""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from isosweep.errors import NumericalError
from isosweep.runtime.interrupts import Interrupts, current
from isosweep.runtime.lifeline import Lifeline
from isosweep.training.buckets import Buckets
from isosweep.training.team import Asked, Team

log = logging.getLogger("isosweep")
T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""No sum is given up: the first process may extract a mesh for an hour. That a process has ended, the lifeline says."""


class Processes(Team):
    """The processes that torchrun has started, after ``torch.distributed.init_process_group``.

    Args:
        lifeline: knows which process is lost where a sum fails.
    """

    def __init__(self, lifeline: Lifeline) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.lifeline = lifeline
        self._buckets: Buckets | None = None
        self._asked = Asked()

    @property
    def gradient_bytes(self) -> int:
        """Bytes of gradients that each process gives to the sum of a step."""
        return 0 if self._buckets is None else self._buckets.bytes

    def follow(self, model: nn.Module) -> None:
        def send() -> None:
            for value in (*model.parameters(), *model.buffers()):
                if value.numel():
                    dist.broadcast(value.detach().reshape(-1).view(torch.uint8), 0)  # gloo knows no bool

        self._safely(send)
        if self._buckets is not None:
            self._buckets.remove()
        self._buckets = Buckets(model, self._start)
        log.info("%d processes: %.1f MiB of gradients a step", self.size, self.gradient_bytes / 2**20)

    def sum(self, values: Tensor) -> Tensor:
        total = values.clone()
        self._safely(lambda: dist.all_reduce(total))
        return total

    def count(self, numbers: Sequence[int]) -> list[int]:
        signals = current()
        mine = [int(signals.wants_checkpoint), int(signals.signal is not None)]
        *sums, save, end = self.sum(torch.tensor([*numbers, *mine])).tolist()
        self._asked = Asked(save > 0, end > 0)
        return sums

    def last_backward(self) -> None:
        if self._buckets is not None:
            self._buckets.arm()

    def gradients(self) -> None:
        assert self._buckets is not None, "follow(model) comes first"
        self._safely(self._buckets.finish)

    def gather(self, value: T) -> list[T]:
        found: list[T | None] = [None] * self.size
        self._safely(lambda: dist.all_gather_object(found, value))
        return found  # pyright: ignore[reportReturnType]

    def ending(self) -> None:
        self.lifeline.heed()

    def asked(self, signals: Interrupts) -> Asked:
        asked, self._asked = self._asked, Asked()
        if asked.end:
            signals.ask_to_end()
        return asked

    def same(self, model: nn.Module) -> None:
        # A bit that differs anywhere changes a sum over bits.
        mine = {name: _fingerprint(value) for name, value in model.state_dict().items()}
        theirs = self.gather(mine)
        for rank, other in enumerate(theirs):
            apart = [name for name, value in theirs[0].items() if other[name] != value]
            if apart:
                raise NumericalError(
                    f"process {rank} has other values than process 0 in {apart[0]}"
                    f"{f' and {len(apart) - 1} more' if len(apart) > 1 else ''}: the run cannot go on. Resume it from "
                    "its last checkpoint; if it happens again, start it on cards of one kind, or on one card"
                )

    def _start(self, values: Tensor) -> dist.Work:
        started: list[dist.Work] = []
        self._safely(lambda: started.append(dist.all_reduce(values, async_op=True)))  # pyright: ignore[reportArgumentType]
        return started[0]

    def _safely(self, action: Callable[[], object]) -> None:
        """Do what needs all processes. Where it fails because one of them is gone, say which."""
        try:
            action()
        except RuntimeError as error:
            lost = self.lifeline.lost(5.0)
            if lost is None:
                raise
            raise lost from error


def _fingerprint(value: Tensor) -> int:
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[value.element_size()]
    return int(value.detach().contiguous().view(whole).sum(dtype=torch.int64))
