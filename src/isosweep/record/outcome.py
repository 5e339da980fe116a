"""The outcome of one job of a sweep: a small file beside its log, which the launcher reads.

The record describes the run, the outcome describes the job. A job may end before there is a record (because a value of
the config is refused), find the run finished already, or find that another process works on it.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec

from isosweep.errors import InputError
from isosweep.record.clock import utc_now
from isosweep.record.failure import error_record, status_of
from isosweep.record.lock import LockHeld, job_id
from isosweep.record.reading import Unreadable, decoded
from isosweep.record.schema import ErrorRecord
from isosweep.record.writing import encoded
from isosweep.runtime.files import atomic_write_bytes
from isosweep.runtime.ranks import place
from isosweep.runtime.stops import OUTCOME

ENVIRONMENT = OUTCOME
"""Name of the environment variable that holds the path of this job's outcome file. The launchers set it."""

JobStatus = Literal[
    "running",
    "finished",
    "skipped",
    "failed",
    "oom",
    "preempted",
    "interrupted",
    "cancelled",
    "timeout",
    "elsewhere",
]
GOOD: tuple[JobStatus, ...] = ("finished", "skipped")


class JobOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an outcome file holds."""

    status: JobStatus = "running"
    key: str | None = None
    folder: str | None = None
    """The run's folder, absolute; None where the job ended before it had one."""
    value: float | None = None
    """The sweeper's objective; None if the run has none."""
    error: ErrorRecord | None = None
    started: str | None = None
    ended: str | None = None
    host: str = ""
    pid: int = 0
    job: str | None = None
    code_hash: str | None = None
    """Hash of the numerical code that ran; None if the job ended before it was computed."""
    restarts: int = 0

    def write(self, path: Path) -> None:
        """Write the outcome atomically. Raises OSError."""
        atomic_write_bytes(path, encoded(self) + b"\n")


_DECODER = msgspec.json.Decoder(JobOutcome)
_current: JobOutcome | None = None


def update(**changes: Any) -> None:
    """Set fields of this process's outcome and write it. Does nothing if no launcher has set ENVIRONMENT.

    Of several processes of one run, the first alone writes.
    """
    global _current
    target = os.environ.get(ENVIRONMENT)
    if not target or not place().leads:
        return
    if _current is None:
        _current = JobOutcome(
            started=utc_now(),
            host=socket.gethostname(),
            pid=os.getpid(),
            job=job_id(),
            restarts=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        )
    _current = msgspec.structs.replace(_current, **changes)
    _current.write(Path(target))


def end(error: BaseException | None, value: float | None = None) -> None:
    """Write that the job has ended: with ``value``, the sweeper's objective, or with the error that ended it.

    Where the disk cannot be written, stderr has that in place of the outcome: what ended the job is told all the same.
    """
    try:
        _end(error, value)
    except OSError as problem:
        print(f"could not write the outcome of this job: {problem}", file=sys.stderr)


def _end(error: BaseException | None, value: float | None) -> None:
    if error is None:
        status = "skipped" if _current is not None and _current.status == "skipped" else "finished"
        finite = value if value is not None and value == value else None
        update(status=status, value=finite, error=None, ended=utc_now())
        return
    status = "elsewhere" if isinstance(error, LockHeld) else status_of(error)
    update(status=status, error=error_record(error), ended=utc_now())


def read_outcome(path: Path) -> JobOutcome | None:
    """Read an outcome file; None if the job has not started, which leaves none. ValueError if it is invalid."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return decoded(data, _DECODER.decode)
    except Unreadable as error:
        raise InputError(f"{path} is not a job's outcome ({error}): delete it, or restore it") from error
