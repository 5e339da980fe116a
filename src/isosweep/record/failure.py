"""What an exception says about a run: its status, and a record of it."""

import errno
import traceback
from collections.abc import Iterator

from isosweep.record.schema import ErrorRecord, Status
from isosweep.runtime.files import DISK_HINT
from isosweep.runtime.interrupts import RunPreempted, RunTimeout

_OOM_TEXT = ("out of memory", "can't allocate memory")
_OOM_HINT = (
    "lower train.max_rays and train.target_samples; "
    "for scores or the mesh, eval.chunk, export.chunk or export.block"
)


def status_of(error: BaseException) -> Status:
    """preempted, timeout, oom or failed; an explicit cause ('raise ... from') counts like the error."""
    for one in _causes(error):
        if isinstance(one, RunPreempted | KeyboardInterrupt):
            return "preempted"
        if isinstance(one, RunTimeout):
            return "timeout"
        if _is_oom(one):
            return "oom"
    return "failed"


def describe(error: BaseException) -> ErrorRecord:
    """Type, message, traceback; the hint is what was attached with ``add_note``, or what fits the status."""
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
    """By name: torch's class is not imported here."""
    named = any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__)
    worded = isinstance(error, RuntimeError) and any(text in str(error) for text in _OOM_TEXT)
    refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or named or worded or refused


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__
