"""Turns the exception that ended a run into the run's status and an error record."""

import errno
import traceback
from collections.abc import Iterator

from isosweep.errors import OverLimit
from isosweep.record.schema import ErrorRecord, Status
from isosweep.runtime.files import DISK_HINT
from isosweep.runtime.interrupts import RunCancelled, RunInterrupted, RunPreempted, RunTimeout

_OOM_TEXT = ("out of memory", "can't allocate memory")
_OOM_HINT = (
    "lower train.max_rays and train.target_samples; "
    "for scores or the mesh, eval.chunk, export.chunk or export.block"
)


def status_of(error: BaseException) -> Status:
    """The status that an error gives a run: interrupted, cancelled, preempted, timeout, oom or failed.

    An error that was raised from another one ('raise ... from') is judged by both.
    """
    for one in _causes(error):
        if isinstance(one, RunInterrupted | KeyboardInterrupt):
            return "interrupted"
        if isinstance(one, RunCancelled):
            return "cancelled"
        if isinstance(one, RunPreempted):
            return "preempted"
        if isinstance(one, RunTimeout | OverLimit):
            return "timeout"
        if _is_oom(one):
            return "oom"
    return "failed"


def error_record(error: BaseException) -> ErrorRecord:
    """Type, message and traceback of an error, and a hint: its notes (``add_note``), or advice that fits the status."""
    notes = list(getattr(error, "__notes__", []))
    if not notes and status_of(error) == "oom":
        notes = [_OOM_HINT]
    if not notes and isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        notes = [DISK_HINT]
    return ErrorRecord(
        type=type(error).__name__,
        message=str(error),
        traceback="".join(traceback.format_exception(error)),
        hint="\n".join(notes) or None,
    )


def _is_oom(error: BaseException) -> bool:
    """Whether memory ran out. torch's error is recognised by its name, because torch is not imported here."""
    named = any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__)
    worded = isinstance(error, RuntimeError) and any(text in str(error) for text in _OOM_TEXT)
    refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or named or worded or refused


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__
