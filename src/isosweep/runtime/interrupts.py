"""Signals, noted when they arrive and answered where a run can stop without loss.

A run that stops in the middle of a step loses the work since its last checkpoint, and one that stops while it writes
may leave incomplete files. So a signal is only noted. Training checks for it after every step, saves, and ends;
evaluation and export check between views, blocks and frames.

==================  ==========================================================================
SIGINT (Ctrl-C)     save and end; a second one ends at once
SIGTERM             save and end; in a SLURM batch job: save and go on (see ``Interrupts``)
SIGUSR2             save and end: SLURM's warning before the time limit or a preemption
SIGBREAK            save and end: Ctrl-Break on Windows, which has neither SIGUSR2 nor a SIGTERM that is sent
==================  ==========================================================================

A run that ends says why: 'interrupted' after Ctrl-C on it or on its launcher, 'cancelled' after ``runs.py cancel``
(`isosweep.runtime.stops` tells them apart), 'timeout' near SLURM's time limit, and 'preempted' otherwise.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from isosweep.runtime.stops import own_stop

PARENT = "ISOSWEEP_PARENT"
"""The environment variable with the pid of the launcher that a run must not outlive."""
_PR_SET_PDEATHSIG = 1
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR2", "SIGBREAK")
HANDLED: tuple[int, ...] = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""Those of the signals above that this system has."""


class RunPreempted(Exception):
    """The run was asked to make room and has saved a checkpoint; the next start resumes it."""


class RunInterrupted(RunPreempted):
    """A person has stopped the run with Ctrl-C, or its launcher, or its launcher is gone."""


class RunCancelled(RunPreempted):
    """``runs.py cancel`` has stopped the run."""


class RunTimeout(Exception):
    """The time limit is near and a checkpoint is saved; the next start resumes it."""


class Interrupts:
    """The signals that have arrived since ``__enter__``, until ``__exit__``; only in the process that entered.

    SLURM sends SIGTERM to every process of a job, before a preemption, a requeue and a cancellation alike. A job that
    ends on it counts as failed and is not requeued; a job that requeues itself would undo the user's scancel. So in a
    SLURM job the run saves, is recorded as preempted, and goes on until SLURM ends it.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._save = False
        self._previous: dict[int, Any] = {}
        self._pid = os.getpid()

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in HANDLED:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
        self._previous = {}

    @property
    def wants_checkpoint(self) -> bool:
        """Whether a signal asks for a checkpoint: because the run is to end, or because it may be killed soon."""
        return self._save or self.signal is not None

    def ask_to_end(self, number: int = signal.SIGTERM) -> None:
        """Take over a signal that another process of the same run has got, or that a person gives in another way."""
        self.signal = self.signal or int(number)

    @contextmanager
    def fatal(self) -> Iterator[None]:
        """While nothing has begun: a signal ends the process at once, also where it waits outside of Python."""
        held = {number: signal.signal(number, signal.SIG_DFL) for number in self._previous}
        try:
            yield
        finally:
            for number, handler in held.items():
                signal.signal(number, handler)

    def saved(self) -> None:
        """Note that the checkpoint is on the disk."""
        self._save = False

    def check(self) -> None:
        """Raise RunPreempted (or why exactly) or RunTimeout if a signal has asked the run to end."""
        if self.signal is None:
            return
        name = signal.Signals(self.signal).name
        if self.signal == signal.SIGINT:
            raise RunInterrupted(f"asked to stop by {name}")
        if (why := own_stop()) is not None:
            kind = RunCancelled if why == "cancelled" else RunInterrupted
            raise kind(f"its sweep was {why} ({name})")
        if time_is_up():
            raise RunTimeout(f"the job's time limit is near ({name})")
        if launcher_is_gone():
            raise RunInterrupted(f"the launcher that started this run is gone ({name})")
        raise RunPreempted(f"asked to stop by {name}")

    def previous(self, number: int) -> Callable[[int, FrameType | None], Any] | None:
        """The signal's handler before ``__enter__``, such as submitit's, which requeues the job on SIGUSR2; or None."""
        found = self._previous.get(number)
        return found if callable(found) and found is not signal.default_int_handler else None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a forked worker: SLURM signals it as well, but only the run itself answers
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
    """New Interrupts for this process; use them as a context manager."""
    global _current
    _current = Interrupts()
    return _current


def check() -> None:
    """Stop the run here if a signal has asked for it. Call it where nothing is half done.

    Raises:
        RunPreempted, RunTimeout: a signal has asked the run to end.
    """
    if _current is not None:
        _current.check()


def current() -> Interrupts:
    """The Interrupts of this process; new ones that note nothing if `listen` was not called, as in a library."""
    return _current or Interrupts()


def end_with_parent() -> None:
    """Have Linux send SIGTERM to this process when the launcher that started it dies, for whatever reason.

    This needs a launcher that has set ``PARENT``: a run that was started by hand, under nohup, must outlive its shell.

    Raises:
        RunInterrupted: the launcher is gone already.
    """
    if not os.environ.get(PARENT) or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if launcher_is_gone():
        raise RunInterrupted("the launcher that started this run is gone")


def launcher_is_gone() -> bool:
    """Whether a launcher has started this process and has ended since; Linux gives it another parent then."""
    parent = os.environ.get(PARENT)
    return bool(parent) and sys.platform == "linux" and os.getppid() != int(parent or 0)


def in_batch_job() -> bool:
    """Whether this is a SLURM batch job; False in an interactive shell of SLURM, and under a launcher in a job."""
    alone = PARENT not in os.environ  # a launcher in a job sends SIGTERM only to end its runs
    return alone and "SLURM_JOB_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") != "interactive"


def time_is_up() -> bool:
    """Whether the SLURM job ends within ten minutes, by SLURM_JOB_END_TIME (SLURM >= 22.05)."""
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    return end.isdecimal() and float(end) - time.time() < 600


def _say(text: str) -> None:
    # os.write: the signal may have come in the middle of a print
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{text}\n".encode())
