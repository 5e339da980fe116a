"""Runs each task as its own process in a slot, so that a crash ends only that run."""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol, runtime_checkable

from isosweep.launchers.columns import Run
from isosweep.launchers.exit_causes import unexplained_end
from isosweep.launchers.slots import Slot
from isosweep.record.abandoned import close_abandoned
from isosweep.record.outcome import ENVIRONMENT, GOOD, JobOutcome, read_outcome
from isosweep.record.schema import Status
from isosweep.runtime.children import NEW_GROUP, ask_to_end, end_all
from isosweep.runtime.interrupts import HANDLED, PARENT
from isosweep.runtime.ram import out_of_memory_kills
from isosweep.runtime.stops import read_stop, write_stop

POLL_S = 0.2
REPEAT_S = 5.0
"""Seconds after which SIGTERM is sent again: a process that was still importing may not have heeded the first."""


@dataclass(frozen=True)
class Task:
    """One process to run: its command, its log, and the file it reports to."""

    number: int
    title: str
    command: list[str]
    log: Path
    outcome: Path
    run: Run | None = None
    folder: Path | None = None
    """Of the run, as it was planned."""
    processes: int = 1
    """Of the run. The record names the first, which is a child of the one that is started if there are more."""


@dataclass
class Started:
    task: Task
    slot: Slot
    process: subprocess.Popen[bytes]
    since: float = field(default_factory=time.monotonic)


@runtime_checkable
class Watcher(Protocol):
    """Shows the progress of a pool. ``Pool.run`` calls these methods from the thread that called it."""

    def started(self, one: Started) -> None: ...
    def ended(self, task: Task, outcome: JobOutcome, seconds: float) -> None: ...
    def tick(self, running: Sequence[Started], waiting: int) -> None: ...
    def say(self, text: str) -> None: ...


class Pool:
    """Runs tasks in slots until all have ended, too many have failed, or a signal asks to stop.

    Args:
        grace_s: how long a run may take to save and end when the pool stops.
        max_failures: failures after which nothing new is started; None for no limit.
    """

    def __init__(
        self, slots: Sequence[Slot], watcher: Watcher, *, max_failures: int | None, grace_s: float
    ) -> None:
        self.slots, self.watcher = list(slots), watcher
        self.max_failures, self.grace_s = max_failures, grace_s
        self.outcomes: dict[int, JobOutcome] = {}
        self.stopped_by: int | None = None
        self._running: list[Started] = []
        self._stopping_since: float | None = None
        self._last_sigterm = 0.0
        self._kill_now = False
        self._oom_kills = out_of_memory_kills()

    def run(self, tasks: Sequence[Task]) -> dict[int, JobOutcome]:
        """Number -> outcome of every task that was started."""
        waiting = deque(tasks)
        with _Signals(self._on_signal):
            try:
                while self._running or (waiting and not self._done_starting()):
                    while waiting and not self._done_starting() and (slot := self._free()) is not None:
                        self._start(waiting.popleft(), slot)
                    self._reap()
                    if self.stopped_by is not None:
                        self._stop_running()
                    self.watcher.tick(self._running, len(waiting))
                    if self._running:
                        time.sleep(POLL_S)
            finally:
                self._kill_all()
        return self.outcomes

    @property
    def failures(self) -> int:
        return sum(o.status not in (*GOOD, "elsewhere") for o in self.outcomes.values())

    def _done_starting(self) -> bool:
        full = self.max_failures is not None and self.failures >= self.max_failures
        return full or self.stopped_by is not None

    def _free(self) -> Slot | None:
        taken = {one.slot.number for one in self._running}
        return next((slot for slot in self.slots if slot.number not in taken), None)

    def _start(self, task: Task, slot: Slot) -> None:
        env = {**os.environ, **slot.environment(), ENVIRONMENT: str(task.outcome), PARENT: str(os.getpid())}
        task.outcome.unlink(missing_ok=True)
        with task.log.open("ab") as log:
            process = subprocess.Popen(
                task.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                # a terminal's Ctrl-C reaches the pool alone, which stops runs in order
                start_new_session=True,
                creationflags=NEW_GROUP,
            )
        slot.pin(process.pid)
        one = Started(task, slot, process)
        self._running.append(one)
        self.watcher.started(one)

    def _reap(self) -> None:
        for one in [s for s in self._running if s.process.poll() is not None]:
            self._running.remove(one)
            outcome = self._outcome(one)
            self.outcomes[one.task.number] = outcome
            self.watcher.ended(one.task, outcome, time.monotonic() - one.since)

    def _outcome(self, one: Started) -> JobOutcome:
        """The outcome that the process wrote, or else one made from its exit code and its log."""
        written = read_outcome(one.task.outcome)
        if written is not None and written.ended is not None:
            return written
        kills = out_of_memory_kills()
        end = unexplained_end(
            one.process.returncode,
            log=one.task.log,
            oom_kills=kills - self._oom_kills,
            stopped=self._stopped(one.task),
        )
        self._oom_kills = kills
        outcome = end.outcome(written, one.process.pid)
        outcome.write(one.task.outcome)
        if outcome.folder is not None and outcome.error is not None:
            pid = one.process.pid if one.task.processes == 1 else None
            close_abandoned(Path(outcome.folder), end.status, outcome.error, pid=pid)
        return outcome

    def _stopped(self, task: Task) -> Status | None:
        """What a run is that ends by a signal now: None while the pool does not stop its runs."""
        if self.stopped_by is None:
            return None
        by_default = "interrupted" if self.stopped_by == signal.SIGINT else "preempted"
        return read_stop(task.outcome.parent) or by_default

    def _say_why(self) -> None:
        """Tell the runs that Ctrl-C has stopped their launcher, unless runs.py has said that it cancelled them."""
        if self.stopped_by != signal.SIGINT:
            return
        for folder in {one.task.outcome.parent for one in self._running}:
            try:
                write_stop(folder, "interrupted")
            except OSError as error:  # a full disk must not keep the runs from being stopped
                self.watcher.say(f"warning: the runs will be recorded as preempted: {error}")

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.stopped_by is not None and number == signal.SIGINT:
            self._kill_now = True
        elif self.stopped_by is None:
            self.stopped_by = number

    def _stop_running(self) -> None:
        now = time.monotonic()
        if self._stopping_since is None:
            self._stopping_since = now
            self._say_why()
            self.watcher.say(
                f"stopping: {len(self._running)} runs save a checkpoint and end (at most {self.grace_s:g} s; "
                "Ctrl-C again kills them). The same command goes on from there"
            )
        if self._kill_now or now - self._stopping_since > self.grace_s:
            self._kill_all()
        elif now - self._last_sigterm > REPEAT_S:
            self._last_sigterm = now
            for one in self._running:
                ask_to_end(one.process)

    def _kill_all(self) -> None:
        """SIGKILL for every process of every run that is left, its helpers (data, trackers) included."""
        for one in self._running:
            end_all(one.process)
            one.process.wait()


class _Signals:
    """Routes the signals that a run answers to one function while the pool runs (main thread only)."""

    def __init__(self, handler: Callable[[int, FrameType | None], None]) -> None:
        self._handler = handler
        self._previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in HANDLED:
                self._previous[number] = signal.signal(number, self._handler)

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
