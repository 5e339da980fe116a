"""The processes of one run find each other, and end together.

The first of them (rank 0) has the record, the tracker and the terminal. Whatever it decides the others are told, and an
error of any of them ends all of them: rank 0 says what was wrong and records it.
"""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from isosweep.app.device import Machine
from isosweep.config.check import ConfigError
from isosweep.errors import InputError, UserError
from isosweep.record import RunRecord, outcome
from isosweep.runtime import interrupts
from isosweep.runtime.interrupts import RunPreempted, RunTimeout
from isosweep.runtime.lifeline import Lifeline, ProcessLost, end_this_process
from isosweep.runtime.ranks import Place, place
from isosweep.training.processes import PATIENCE, Processes
from isosweep.training.team import ALONE, Team

MOST = 16
"""Processes of a run: a batch may have as few as 16 rays (training/loop.py)."""

_record: RunRecord | None = None
"""The record that is closed if this process has to end in the middle of a sum."""


def keep(record: RunRecord) -> RunRecord:
    """Note the record of this process's run, so that it is closed whatever happens to the other processes."""
    global _record
    _record = record
    return record


@contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """The team of this process: itself, or all that torchrun has started for this run.

    Raises:
        ConfigError: there are more than ``MOST`` of them.
        SystemExit: in a process that does not lead, in place of an error, which the first process reports.
    """
    mine = place()
    if mine.size == 1:
        yield ALONE
        return
    if mine.size > MOST:
        raise ConfigError(f"{mine.size} processes for one run: at most {MOST} share a batch")
    lifeline = Lifeline(mine.rank, mine.size, lost)
    with interrupts.current().fatal():
        _meet(mine, device, lifeline)
    try:
        yield Processes(lifeline)
    except BaseException as error:
        _tell(lifeline, error)
        if mine.leads:
            raise
        if not isinstance(error, UserError | OSError | MemoryError | RunPreempted | RunTimeout | SystemExit):
            traceback.print_exception(error)
        # The exit code of a run that was stopped is the first process's. One that ended earlier with another code
        # would have torchrun, or a cluster, end the first before it has saved.
        sys.exit(0 if isinstance(error, RunPreempted | RunTimeout) else 1)
    lifeline.close()
    dist.destroy_process_group()


def _meet(mine: Place, device: torch.device, lifeline: Lifeline) -> None:
    """Connect the processes with each other: for sums, and to notice that one of them ends."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    where: list[object] = [lifeline.listen()] if mine.leads else [None]
    dist.broadcast_object_list(where, 0)
    if mine.leads:
        lifeline.accept()
    else:
        port = where[0]
        assert isinstance(port, int)
        lifeline.connect(os.environ["MASTER_ADDR"], port)


def _tell(lifeline: Lifeline, error: BaseException) -> None:
    if isinstance(error, RunPreempted | RunTimeout | KeyboardInterrupt):
        lifeline.stopped()
    else:
        lifeline.close(" ".join(str(error).split()) or type(error).__name__)


def lost(error: ProcessLost) -> None:
    """End this process, whose main thread waits for one that is gone."""
    if place().leads:
        if _record is not None:
            _record.fail(error)
            _record.close()
        outcome.end(error)
        print(f"error: {error}", file=sys.stderr, flush=True)
    end_this_process()


def require_one_backend(team: Team, machine: Machine) -> None:
    """Check that all processes compute with the same kernels.

    Raises:
        InputError: they do not. One card's kernels were found to be wrong, perhaps.
    """
    found = team.gather(f"{machine.backend.name} ({machine.backend.why})")
    names = [text.partition(" ")[0] for text in found]
    if len(set(names)) > 1:
        listed = "; ".join(f"process {rank}: {text}" for rank, text in enumerate(found))
        raise InputError(
            f"the processes of this run compute with different kernels: {listed}. Set backend=torch"
        )


@contextmanager
def first_then_the_others(team: Team) -> Iterator[None]:
    """The first process does it, then the others: what it has left in a cache, they find there."""
    if not team.leads:
        team.gather(None)
    yield
    if team.leads:
        team.gather(None)
