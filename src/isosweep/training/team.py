"""The processes that compute a run together, each of them a share of every batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, nn

from isosweep.runtime.interrupts import Interrupts

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """What signals ask of a run at the end of a step, the same in each of its processes."""

    save: bool = False
    """A checkpoint."""
    end: bool = False
    """To end after it."""


class Team:
    """A process that computes a run alone: the sums over the team are its own."""

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Number of processes."""

    @property
    def leads(self) -> bool:
        """Whether this process keeps the record and writes the checkpoints."""
        return self.rank == 0

    def follow(self, model: nn.Module) -> None:
        """Start each process with the parameters and buffers of the first, and sum the gradients of this model."""

    def sum(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over the processes, in each of them."""
        return values

    def count(self, numbers: Sequence[int]) -> list[int]:
        """Sums of whole numbers that the host knows. Signals that a process has got travel with them."""
        return list(numbers)

    def last_backward(self) -> None:
        """Say that the next backward pass completes the gradients, so that they may be sent while it runs."""

    def gradients(self) -> None:
        """Replace each parameter's gradient by the sum over the processes."""

    def gather(self, value: T) -> list[T]:
        """The values of all processes in their order, in each of them. All have to come here."""
        return [value]

    def first(self, value: T) -> T:
        """The value of the first process, in each of them. All have to come here."""
        return self.gather(value)[0]

    def ending(self) -> None:
        """Say that an error ends this process, whatever becomes of the others."""

    def asked(self, signals: Interrupts) -> Asked:
        """What signals ask for. All processes of a team get the same answer at the same step."""
        return Asked(signals.wants_checkpoint, signals.signal is not None)

    def same(self, model: nn.Module) -> None:
        """Check that all processes have the same parameters and buffers.

        Raises:
            NumericalError: they have drifted apart.
        """


ALONE = Team()
