"""The processes that compute a run together, each of them a share of every batch."""

from torch import Tensor


class Team:
    """A process that computes a run alone: the sums over the team are its own."""

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Number of processes."""

    def sum(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over the processes, in each of them."""
        return values

    def last_backward(self) -> None:
        """Say that the next backward pass completes the gradients, so that they may be sent while it runs."""

    def gradients(self) -> None:
        """Replace each parameter's gradient by the sum over the processes."""


ALONE = Team()
