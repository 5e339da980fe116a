"""Why a process ended that did not say so itself."""

import signal
from dataclasses import dataclass
from pathlib import Path

import msgspec

from isosweep.record.clock import utc_now
from isosweep.record.outcome import Outcome
from isosweep.record.schema import ErrorRecord, Status

TAIL_LINES = 20


@dataclass(frozen=True)
class Death:
    status: Status
    error: ErrorRecord

    def outcome(self, said: Outcome | None, pid: int) -> Outcome:
        """The outcome of the job: what it said while it ran, with the end that was seen."""
        return msgspec.structs.replace(
            said or Outcome(pid=pid), status=self.status, error=self.error, ended=utc_now()
        )


def cause_of_death(returncode: int, *, log: Path, oom_kills: int, asked_to_stop: bool) -> Death:
    """Status and words for an exit code (negative: the signal's number) of a process that left no outcome.

    Args:
        oom_kills: kills by the kernel's out-of-memory killer in this control group since the last look.
        asked_to_stop: the launcher was stopping its runs: a signal is then no failure.
    """
    tail = last_lines(log)
    if returncode >= 0:
        text = f"the process exited with code {returncode} before it said why; its last line: {_last(tail)}"
        return Death("failed", ErrorRecord(type="Exit", message=text, traceback=tail))
    number = -returncode
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if asked_to_stop:
        text = f"ended by {name} while the launcher stopped its runs"
        return Death("preempted", ErrorRecord(type=name, message=text, traceback=tail))
    if number == signal.SIGKILL and oom_kills > 0:
        text = "killed by the kernel: the machine, or this job's share of it, ran out of memory"
        hint = "use fewer slots (hydra.launcher.slots=), or lower train.max_rays and train.target_samples"
        return Death("oom", ErrorRecord(type=name, message=text, traceback=tail, hint=hint))
    known: dict[int, str] = {
        signal.SIGKILL: "somebody's kill -9, a batch system, or the out-of-memory killer of another control group",
        signal.SIGSEGV: "a crash in compiled code",
        signal.SIGBUS: "a crash in compiled code, or a full /dev/shm",
        signal.SIGABRT: "a crash in compiled code",
    }
    what = known.get(number, "from outside")
    return Death(
        "failed", ErrorRecord(type=name, message=f"the process was ended by {name}: {what}", traceback=tail)
    )


def out_of_memory_kills() -> int:
    """How many processes of this control group the kernel has killed for memory; 0 where it does not say."""
    own = _text(Path("/proc/self/cgroup")).splitlines()
    unified = next((line.partition("::")[2] for line in own if line.startswith("0::")), "/")
    folder = Path("/sys/fs/cgroup") / unified.lstrip("/")
    for name in ((folder / "memory.events"), Path("/sys/fs/cgroup/memory.events"), *_old_cgroups(own)):
        for line in _text(name).splitlines():
            word, _, count = line.partition(" ")
            if word == "oom_kill" and count.strip().isdigit():
                return int(count)
    return 0


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


def _last(tail: str) -> str:
    lines = [line for line in tail.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "(none)"


def _old_cgroups(own: list[str]) -> list[Path]:
    """cgroup v1's file of the same facts."""
    path = next((line.split(":", 2)[2] for line in own if ":memory:" in line), "/")
    return [Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.oom_control"]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
