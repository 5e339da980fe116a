"""Turns the exception that ended a run into the run's status and an error record."""

import contextlib
import errno
import sys
import traceback
from collections.abc import Iterator

from isosweep.errors import OverLimit
from isosweep.record.schema import ErrorRecord, Status
from isosweep.runtime.files import DISK_HINT
from isosweep.runtime.interrupts import RunCancelled, RunInterrupted, RunPreempted, RunTimeout
from isosweep.runtime.text import printable

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
    notes = [str(note) for note in getattr(error, "__notes__", None) or ()]
    if not notes and status_of(error) == "oom":
        notes = [_OOM_HINT]
    if not notes and isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        notes = [DISK_HINT]
    return ErrorRecord(
        type=type(error).__name__,
        message=_message(error),
        traceback="".join(traceback.format_exception(error)),
        hint="\n".join(notes) or None,
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # an exception of another library's
        return f"(its message cannot be made: {type(problem).__name__})"


def first_line(error: ErrorRecord) -> str:
    """Type and first line of an error's message."""
    return f"{error.type}: {(error.message.splitlines() or [''])[0]}"


def tell(what: str, problem: Exception) -> None:
    """Say on stderr what could not be done; never raises."""
    with contextlib.suppress(Exception):  # stderr may be closed
        print(printable(f"{what}: {_message(problem)}"), file=sys.stderr)


def _is_oom(error: BaseException) -> bool:
    """Whether memory ran out. torch's error is recognised by its name, because torch is not imported here."""
    named = any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__)
    worded = isinstance(error, RuntimeError) and any(text in _message(error) for text in _OOM_TEXT)
    refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or named or worded or refused


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:  # 'raise a from b' may be written in a circle
        yield one
        seen.add(id(one))
        one = one.__cause__
