"""Why a process without an outcome ended: its exit code, its log and the kernel's count of kills say it."""

import signal
from dataclasses import dataclass
from pathlib import Path

import msgspec

from isosweep.record.clock import utc_now
from isosweep.record.outcome import JobOutcome
from isosweep.record.schema import ErrorRecord, Status

TAIL_LINES = 20
_KNOWN = {
    "SIGKILL": "kill -9, a batch system, or the out-of-memory killer of another control group",
    "SIGSEGV": "a crash in compiled code",
    "SIGBUS": "a crash in compiled code, or a full /dev/shm",
    "SIGABRT": "a crash in compiled code",
}


@dataclass(frozen=True)
class UnexplainedEnd:
    """How a run ended, as far as it can be seen from outside."""

    status: Status
    error: ErrorRecord

    def outcome(self, written: JobOutcome | None, pid: int) -> JobOutcome:
        """The outcome of the job: what it wrote while it ran, with this end."""
        return msgspec.structs.replace(
            written or JobOutcome(pid=pid), status=self.status, error=self.error, ended=utc_now()
        )


def unexplained_end(returncode: int, *, log: Path, oom_kills: int, stopped: Status | None) -> UnexplainedEnd:
    """Status and words for an exit code (negative: the signal's number) of a process that left no outcome.

    Args:
        oom_kills: kills by the kernel's out-of-memory killer in this control group since the previous call.
        stopped: the launcher is stopping its runs, so that a signal is no failure: what they are then. None otherwise.
    """
    tail = last_lines(log)
    if returncode >= 0:
        text = (
            f"the process exited with code {returncode} and wrote no error; its log ends: {_last_line(tail)}"
        )
        return UnexplainedEnd("failed", ErrorRecord(type="Exit", message=text, traceback=tail))
    number = -returncode
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if stopped is not None:
        text = f"ended by {name} while the launcher stopped its runs"
        return UnexplainedEnd(stopped, ErrorRecord(type=name, message=text, traceback=tail))
    if name == "SIGKILL" and oom_kills > 0:
        text = "killed by the kernel: the machine, or this job's share of it, ran out of memory"
        hint = "use fewer slots (hydra.launcher.slots=), or lower train.max_rays and train.target_samples"
        return UnexplainedEnd("oom", ErrorRecord(type=name, message=text, traceback=tail, hint=hint))
    what = _KNOWN.get(name, "sent from outside")
    return UnexplainedEnd(
        "failed", ErrorRecord(type=name, message=f"the process was ended by {name}: {what}", traceback=tail)
    )


def last_lines(log: Path, count: int = TAIL_LINES) -> str:
    """The end of a log; '' where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-count:])


def _last_line(tail: str) -> str:
    lines = [line for line in tail.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "(none)"
