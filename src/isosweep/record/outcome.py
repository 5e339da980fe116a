"""How one job of a sweep ended: a small file beside its log, for the launcher that started it.

The run's record is the truth about the run. The outcome is about the job: it may have ended before there was
a record (a value that the config refuses), found the run finished, or found somebody else at work on it.
"""

import os
import socket
from pathlib import Path
from typing import Any, Literal

import msgspec

from isosweep.errors import InputError
from isosweep.record.clock import utc_now
from isosweep.record.failure import describe, status_of
from isosweep.record.lock import LockHeld, job_id
from isosweep.record.schema import ErrorRecord
from isosweep.runtime.files import atomic_write_bytes

ENVIRONMENT = "ISOSWEEP_OUTCOME"
"""Path of the file that this process's job reports to; set by the launchers."""

JobStatus = Literal[
    "running", "finished", "skipped", "failed", "oom", "preempted", "timeout", "elsewhere", "cancelled"
]
GOOD: tuple[JobStatus, ...] = ("finished", "skipped")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    status: JobStatus = "running"
    key: str | None = None
    folder: str | None = None
    """The run's folder, absolute; None where the job ended before it had one."""
    value: float | None = None
    """What the sweeper gets; None where the run has none."""
    error: ErrorRecord | None = None
    started: str | None = None
    ended: str | None = None
    host: str = ""
    pid: int = 0
    job: str | None = None
    code_hash: str | None = None
    """Of the code that ran, where it was looked at."""
    restarts: int = 0

    def write(self, path: Path) -> None:
        atomic_write_bytes(path, msgspec.json.encode(self) + b"\n")


_state: Outcome | None = None


def update(**changes: Any) -> None:
    """Set fields of this process's outcome and write it; does nothing if no launcher waits for it."""
    global _state
    target = os.environ.get(ENVIRONMENT)
    if not target:
        return
    if _state is None:
        _state = Outcome(
            started=utc_now(),
            host=socket.gethostname(),
            pid=os.getpid(),
            job=job_id(),
            restarts=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        )
    _state = msgspec.structs.replace(_state, **changes)
    _state.write(Path(target))


def close(error: BaseException | None, value: float | None = None) -> None:
    """Write that the job is over: with its value, or with the error that ended it."""
    if error is None:
        status = "skipped" if _state is not None and _state.status == "skipped" else "finished"
        finite = value if value is not None and value == value else None
        update(status=status, value=finite, error=None, ended=utc_now())
        return
    status = "elsewhere" if isinstance(error, LockHeld) else status_of(error)
    update(status=status, error=describe(error), ended=utc_now())


def read_outcome(path: Path) -> Outcome | None:
    """The outcome at ``path``; None where the job has not started, ValueError where it is no outcome."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=Outcome)
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is not a job's outcome ({error}): delete it, or restore it") from error
