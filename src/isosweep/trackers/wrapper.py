"""The wrapper around every tracker, which makes sure that no tracker can stop or slow a run.

Each tracker has a background thread, fed by a bounded queue, in which it imports, starts, logs and finishes. If
anything goes wrong there, it is kept in ``Tracker.degraded`` for the record, and the run goes on: the
run's own files are complete, the tracker is a copy.

A start that resumes a run also continues the run's curve. Lines that the tracker lost when the earlier process was
killed (wandb keeps up to 15 s of them in memory) are copied from the run's metrics. Lines that the tracker has already
are not sent again when the resumed training logs them again.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from isosweep.record import TrackerRecord

log = logging.getLogger("isosweep.trackers")

QUEUE_LENGTH = 256
"""Calls that may wait for a tracker; further ones are dropped."""

History = Callable[[], Iterable[tuple[int, Mapping[str, float]]]]
"""Gives step and scalars of everything that the run has logged so far, in order of the steps."""


@runtime_checkable
class Backend(Protocol):
    """One tracker. Its methods run in the wrapper's thread, where they may raise errors or hang."""

    name: str
    run_id: str
    """The run's id in the tracker. Before ``start`` it is the one that is asked for, after it the one that is given."""

    def start(self) -> None:
        """Import the tracker's package and open the run, a new one or one of an earlier start."""
        ...

    def location(self) -> tuple[str | None, str]:
        """The run's URL, None if it has none, and one line that says how to view the run."""
        ...

    def last_step_held(self, before: float) -> int:
        """The last step of this run that the tracker has from earlier starts; -1 if it has none.

        Called once, before anything is logged. This start will log the steps from ``before`` on, none if that is
        infinity. A tracker that can delete what it has from there on does so.
        """
        ...

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Log the scalars of one step; steps arrive in order."""
        ...

    def image(self, name: str, array: np.ndarray, step: int | None) -> None:
        """Log a picture [h, w, 3], uint8; without ``step``, at the last step."""
        ...

    def mesh(self, name: str, path: Path) -> None:
        """Log a mesh file."""
        ...

    def summary(self, values: Mapping[str, Any]) -> None:
        """Log the run's final values."""
        ...

    def finish(self, exit_code: int, preempted: bool) -> None:
        """End the run. Raises an error if something that was logged is lost."""
        ...

    def kill(self) -> None:
        """Make a call that hangs fail at once. Called from another thread."""
        ...

    def close(self) -> None:
        """Called after a failure: clean up whatever would act or wait when the interpreter exits."""
        ...


class Tracker:
    """Passes calls to the threads of its backends. Without a backend, calls do nothing.

    No method raises. No method waits but ``finish``: ``timeout`` seconds, and 2 more if a tracker hangs.
    """

    def __init__(self, *backends: Backend, timeout: float = 30.0, history: History = tuple) -> None:
        self._timeout = timeout
        self._pending: tuple[int, dict[str, float]] | None = None
        self._channels = [_Channel(backend, timeout, history) for backend in backends]

    @property
    def degraded(self) -> str | None:
        """Why the copy of a tracker is incomplete; None if all copies are complete."""
        return "; ".join(c.degraded for c in self._channels if c.degraded) or None

    @property
    def hint(self) -> str:
        """How to view or upload the run, one line for each tracker; '' without a tracker."""
        return "\n".join(c.hint for c in self._channels)

    @property
    def info(self) -> TrackerRecord:
        """The first tracker, as the run's record stores it."""
        return self.infos[0] if self._channels else TrackerRecord(name="none")

    @property
    def infos(self) -> list[TrackerRecord]:
        """All trackers, as the run's record stores them."""
        return [channel.info for channel in self._channels]

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Log scalars of one step. Calls for the same step are merged into one."""
        if not self._channels:
            return
        if self._pending is not None and self._pending[0] == step:
            self._pending[1].update(scalars)
            return
        self._flush()
        self._pending = (step, dict(scalars))

    def image(self, name: str, array: UInt8[np.ndarray, "h w 3"], step: int | None = None) -> None:
        """Log a picture under ``name``, e.g. 'render/000'. It is not sent if an earlier start has logged its step."""
        self._flush()
        copy = array.copy()  # the caller may reuse its buffer before the threads get to it
        for channel in self._channels:
            channel.put_extra(f"image {name}", lambda backend: backend.image(name, copy, step), step)

    def mesh(self, name: str, path: Path) -> None:
        """Log the mesh file at ``path``, which is read later, in the tracker's thread. One above 25 MB is left out."""
        self._flush()
        for channel in self._channels:
            channel.put_extra(f"mesh {path.name}", lambda backend: backend.mesh(name, path))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Log the run's final values, e.g. its scores. Values that are None are left out."""
        self._flush()
        kept = {k: v for k, v in values.items() if v is not None}
        for channel in self._channels:
            channel.put(lambda backend: backend.summary(kept))

    def finish(self, exit_code: int = 0, preempted: bool = False) -> None:
        """Log what is queued, and end the run in each tracker. A tracker that hangs is abandoned.

        Args:
            exit_code: the run's exit code; 0 is success.
            preempted: whether the run was told to end and has saved a checkpoint, so that another start resumes it.
        """
        self._flush()
        channels, deadline = self._channels, time.monotonic() + self._timeout
        enders = [
            threading.Thread(target=c.end, args=(exit_code, preempted, deadline), daemon=True)
            for c in channels
        ]
        for thread in enders:
            thread.start()
        for thread in enders:
            thread.join()

    def _flush(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            for channel in self._channels:
                channel.put_scalars(*pending)


class _Channel:
    """One backend, its thread, its queue, and what went wrong with it."""

    def __init__(self, backend: Backend, timeout: float, history: History) -> None:
        self._backend = backend
        self._timeout = timeout
        self._history = history
        self._held: int | None = None
        self._dropped = 0
        self._dead: str | None = None
        self._notes: list[str] = []
        self._url: str | None = None
        self.hint = f"{backend.name} is starting"
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUE_LENGTH)
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    @property
    def degraded(self) -> str | None:
        parts = [self._dead] if self._dead else []
        parts += self._notes
        if self._dropped:
            parts.append(f"{self._dropped} calls dropped because the tracker was too slow")
        return "; ".join(parts) or None

    @property
    def info(self) -> TrackerRecord:
        backend = self._backend
        return TrackerRecord(name=backend.name, id=backend.run_id, url=self._url, degraded=self.degraded)

    def put_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self._put(lambda: self._send(step, scalars))

    def put(self, call: Callable[[Backend], None], before: float = math.inf) -> None:
        """Queue ``call``. Earlier starts' lines below the step ``before`` are logged first."""

        def act() -> None:
            self._catch_up(before)
            call(self._backend)

        self._put(act)

    def put_extra(self, what: str, call: Callable[[Backend], None], step: int | None = None) -> None:
        """Queue the call for a picture or mesh, of a step or of the end. If it fails, it is left out and the tracker
        goes on."""

        def left_out_on_failure(backend: Backend) -> None:
            if step is not None and self._held is not None and step <= self._held:
                return  # as scalars of such a step
            try:
                call(backend)
            except Exception as error:  # trackers raise errors of many types
                self._notes.append(f"{what} left out: {error_line(error)}")
                log.warning("tracker: %s", self._notes[-1])

        self.put(left_out_on_failure, math.inf if step is None else step)

    def end(self, exit_code: int, preempted: bool, deadline: float) -> None:
        """Finish the backend; abandon it if it has not finished by ``deadline`` (time.monotonic)."""
        if self._ended:
            return
        self._ended = True

        def act() -> None:
            self._catch_up(math.inf)
            self._backend.finish(exit_code, preempted)

        self._put(act, until=deadline)
        self._put(None, until=deadline)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._die(f"did not finish within tracker.timeout={self._timeout:g} s")
            self._backend.kill()
            self._thread.join(2.0)

    def _put(self, call: Callable[[], None] | None, until: float | None = None) -> None:
        """Queue ``call``; None ends the thread. If the queue is full, wait up to ``until``; then drop the call."""
        if (self._ended and until is None) or (self._dead and until is None):
            return
        try:
            if until is None:
                self._queue.put_nowait(call)
            else:
                self._queue.put(call, timeout=max(0.0, until - time.monotonic()))
        except queue.Full:
            self._dropped += 1

    def _work(self) -> None:
        self._safely("start", self._begin)
        while (call := self._queue.get()) is not None:
            if not self._dead:
                self._safely("log", call)
        if self._dead:
            self._safely("close", self._backend.close)

    def _begin(self) -> None:
        self._backend.start()
        self._url, self.hint = self._backend.location()
        log.info("%s", self.hint)

    def _send(self, step: int, scalars: Mapping[str, float]) -> None:
        if step > self._catch_up(step):
            self._backend.log(step, scalars)

    def _catch_up(self, before: float) -> int:
        """The last step that the tracker has from earlier starts.

        At the first call, steps below ``before`` that it lacks are copied from the run's metrics.
        """
        if self._held is None:
            self._held = self._backend.last_step_held(before)
            for step, scalars in self._past():
                if self._held < step < before:
                    self._backend.log(step, scalars)
                    self._held = step
        return self._held

    def _past(self) -> Iterable[tuple[int, Mapping[str, float]]]:
        try:
            return list(self._history())
        except (OSError, ValueError) as error:
            self._notes.append(f"what earlier starts logged could not be read: {error_line(error)}")
            return []

    def _safely(self, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # even SystemExit of a tracker must not leave this thread
            self._die(f"{what} failed: {error_line(error)}")

    def _die(self, reason: str) -> None:
        if self._dead is None:
            self._dead = f"{self._backend.name} {reason}"
            log.warning("%s; the run goes on without it, its own files are complete", self._dead)


def error_line(error: BaseException) -> str:
    """'Type: first line of the message'."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
