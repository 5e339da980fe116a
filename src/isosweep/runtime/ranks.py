"""Which of the processes of one run this is. torchrun says so in the environment; a process without it is alone."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """The place of a process among those of its run."""

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Processes of the run, on all machines."""
    local_rank: int = 0
    """Number among those on this machine."""
    local_size: int = 1
    """Processes of the run on this machine."""
    sharers: int = 1
    """Processes of the run that share the cores which this one may use."""

    @property
    def leads(self) -> bool:
        """Whether this process has the record, the tracker and the terminal."""
        return self.rank == 0


def place(environment: Mapping[str, str] | None = None) -> Place:
    """The place of this process, from ``environment``; None takes the process's own.

    Other programs set one or another of these variables. All of them together are torchrun's.
    """
    given = os.environ if environment is None else environment
    if not all(given.get(name) for name in _NEEDED):
        return Place()
    rank, size, local = (int(given[name]) for name in _NEEDED[:3])
    local_size = int(given.get("LOCAL_WORLD_SIZE") or size)
    tasks = int(given.get("SLURM_NTASKS") or 1)  # SLURM gives each of its tasks cores of its own
    return Place(rank, size, local, local_size, max(1, local_size // tasks))


def leave_it_to_the_first(seconds: float = 30.0) -> None:
    """Wait to be ended: the first process meets the same error and says so, and torchrun then ends the others.

    A process that ended at once would have torchrun end the first one before it has said anything.
    """
    time.sleep(seconds)
