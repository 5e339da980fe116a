"""Signals as requests that a run answers where its state is whole.

A run stopped in the middle of a step loses the work since its last checkpoint; one stopped while it
writes may leave a heap of parts. So a signal only leaves a note. Training looks at it after every
step, saves, and ends; evaluation and export look between views, blocks and frames.

==================  ==========================================================================
SIGINT (Ctrl-C)     save and end; a second one ends at once
SIGTERM             save and end; in a SLURM batch job: save and go on (see ``Interrupts``)
SIGUSR2             save and end: SLURM's warning before the time limit or a preemption
==================  ==========================================================================
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

PARENT = "ISOSWEEP_PARENT"
"""The environment variable with the pid of the launcher that a run must not outlive."""
_PR_SET_PDEATHSIG = 1
_HANDLED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name))


class RunPreempted(Exception):
    """The run was asked to make room and has saved a checkpoint; the next start resumes it."""


class RunTimeout(Exception):
    """The time limit is near and a checkpoint is saved; the next start resumes it."""


class Interrupts:
    """Notes signals from ``__enter__`` to ``__exit__``; only the process that entered listens.

    SLURM sends SIGTERM before a preemption, a requeue and a cancellation alike, to every process of the job.
    A job that ends on it counts as failed and is not requeued, one that requeues itself would undo a
    user's scancel: so there the run saves, is recorded as preempted, and goes on until SLURM ends it.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._save = False
        self._previous: dict[int, Any] = {}
        self._pid = os.getpid()

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in _HANDLED:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
        self._previous = {}

    @property
    def wants_checkpoint(self) -> bool:
        """Whether somebody waits for a checkpoint: to end the run, or because it may be killed soon."""
        return self._save or self.signal is not None

    def saved(self) -> None:
        """The checkpoint that was asked for is on the disk."""
        self._save = False

    def check(self) -> None:
        """Raise RunPreempted or RunTimeout where the run was asked to end."""
        if self.signal is None:
            return
        name = signal.Signals(self.signal).name
        if self.signal != signal.SIGINT and time_is_up():
            raise RunTimeout(f"the job's time limit is near ({name})")
        raise RunPreempted(f"asked to stop by {name}")

    def previous(self, number: int) -> Callable[[int, FrameType | None], Any] | None:
        """The handler that was there before, e.g. submitit's, which requeues the job on SIGUSR2."""
        found = self._previous.get(number)
        return found if callable(found) and found is not signal.default_int_handler else None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a forked worker: SLURM signals every process of a job, the run itself answers
        if number == signal.SIGTERM and in_batch_job():
            self._save = True
            _say("SIGTERM: saving a checkpoint; SLURM decides whether this job goes on")
            return
        if self.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal = number
            again = "; Ctrl-C again ends at once" if number == signal.SIGINT else ""
            _say(f"{signal.Signals(number).name}: stopping at the next safe point{again}")


_current: Interrupts | None = None


def listen() -> Interrupts:
    """The process's Interrupts, made anew; use it as a context manager."""
    global _current
    _current = Interrupts()
    return _current


def check() -> None:
    """Raise RunPreempted or RunTimeout where the run was asked to end; call it where nothing is half done."""
    if _current is not None:
        _current.check()


def current() -> Interrupts:
    """The Interrupts of this process; one that hears nothing where none listens (a library user's loop)."""
    return _current or Interrupts()


def end_with_parent() -> None:
    """Ask the kernel (Linux) for a SIGTERM when the launcher that started this process dies, however it does.

    Only where a launcher asked for it: a run started by hand under nohup outlives its shell on purpose.
    """
    parent = os.environ.get(PARENT)
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(parent):
        raise RunPreempted("the launcher that started this run is gone")


def in_batch_job() -> bool:
    """Whether SLURM runs this process, and not a person in a shell that SLURM gave them."""
    lone = PARENT not in os.environ  # a launcher inside a job asks its runs to stop, and means it
    return lone and "SLURM_JOB_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") != "interactive"


def time_is_up() -> bool:
    """Whether the SLURM job's end is nearer than ten minutes, by the job's own end time (SLURM >= 22.05)."""
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    return end.isdigit() and float(end) - time.time() < 600


def _say(text: str) -> None:
    # os.write: the signal may have come in the middle of a print
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{text}\n".encode())
