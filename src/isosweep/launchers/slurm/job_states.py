"""The states of SLURM jobs: from the queue, else from accounting, else from what the controller still knows of a job.

A run's own record has the state of the run. The state of the job around it is all there is when that was killed,
cancelled or never started.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from isosweep.launchers.slurm.calls import ClusterError, chunks, run, seconds

State = Literal[
    "pending",
    "running",
    "completing",
    "finished",
    "failed",
    "cancelled",
    "preempted",
    "timeout",
    "node_fail",
    "oom",
    "unknown",
]
LIVE = frozenset({"pending", "running", "completing"})


@dataclass(frozen=True)
class JobState:
    """One job, as of the call.

    ``reason`` is SLURM's word for why it waits or how it ended (see ``explain``); ``elapsed_s`` and ``left_s`` are
    seconds of the newest attempt, ``restarts`` how often it was requeued. ``exit_code`` and ``signal`` are None
    where the job lives, where SLURM ended it, or where neither accounting nor the controller has them.
    """

    state: State = "unknown"
    reason: str | None = None
    node: str | None = None
    elapsed_s: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    restarts: int = 0
    left_s: int | None = None

    @property
    def live(self) -> bool:
        """Whether it waits, runs, or is just ending."""
        return self.state in LIVE


_STATES: Mapping[str, State] = {
    "PENDING": "pending",
    "CONFIGURING": "pending",
    "REQUEUED": "pending",
    "REQUEUE_HOLD": "pending",
    "REQUEUE_FED": "pending",
    "RESV_DEL_HOLD": "pending",
    "SPECIAL_EXIT": "pending",
    "RUNNING": "running",
    "RESIZING": "running",
    "SIGNALING": "running",
    "STOPPED": "running",
    "SUSPENDED": "running",
    "COMPLETING": "completing",
    "STAGE_OUT": "completing",
    "COMPLETED": "finished",
    "FAILED": "failed",
    "LAUNCH_FAILED": "failed",
    "RECONFIG_FAIL": "failed",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "PREEMPTED": "preempted",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "NODE_FAIL": "node_fail",
    "BOOT_FAIL": "node_fail",
    "OUT_OF_MEMORY": "oom",
}
_JOB = re.compile(r"\d+(\+\d+)?(_\d+)?")
# width in bytes, because a reason may contain any separator; the reason comes last, where its length is harmless
_COLUMNS = {
    "JobArrayID": 40,
    "State": 20,
    "TimeUsed": 20,
    "TimeLeft": 20,
    "RestartCnt": 10,
    "NodeList": 60,
    "Reason": 300,
}
_SACCT = "JobID,State,ExitCode,ElapsedRaw,Submit,NodeList"
_FEW = 20  # arrays about which the controller is asked one by one


def job_states(ids: Sequence[str]) -> dict[str, JobState]:
    """The state of each of ``ids``: ``"123"``, or ``"123_4"`` for task 4 of an array.

    One call of squeue, one of sacct for those that have ended, and scontrol only for what those two left open, so
    thousands of ids cost a few calls. Works without accounting, for as long as the controller remembers a job
    (MinJobAge, often 5 minutes).

    Raises:
        ClusterUnreachable: the controller does not answer now; ask again later.
        ClusterError: an id that is none, or a command that is missing or fails.
    """
    wanted = list(dict.fromkeys(_checked(ids)))
    queued = _from_queue(wanted)
    found = {one: state for one, state in queued.items() if state.live}
    ended = [one for one in wanted if one not in found]
    accounted = _from_accounting(ended) if ended else {}
    for one in ended:
        in_queue, after = queued.get(one), (accounted or {}).get(one)
        if after and not after.live:
            restarts = max(after.restarts, in_queue.restarts if in_queue else 0)
            found[one] = replace(after, restarts=restarts)
    details = _from_controller([one for one in ended if one not in found])
    arrays = {_base(one) for one in [*queued, *(accounted or {})] if "_" in one}
    for one in ended:
        if one not in found:
            found[one] = details.get(one) or queued.get(one) or _unknown(one, accounted, arrays)
    return {one: found[one] for one in wanted}


def _unknown(one: str, accounted: Mapping[str, JobState] | None, arrays: set[str]) -> JobState:
    if one in arrays:
        return JobState(reason=f"{one} is an array: its tasks are called {one}_0, {one}_1, ...")
    if accounted is None:
        return JobState(reason="the controller has forgotten this job, and accounting does not answer")
    stale = accounted.get(one)
    if "_" in one and _base(one) in arrays and (stale is None or stale.state == "pending"):
        # Of a task cancelled while it waited SLURM keeps no record of its own, while the rest of the array has one.
        return JobState("cancelled", reason="cancelled before it started")
    if stale:
        return JobState(reason=f"accounting has it as {stale.state}, the controller does not know it")
    return JobState(reason="neither the controller nor accounting knows this job")


def _checked(ids: Iterable[str]) -> Iterable[str]:
    for one in ids:
        if not _JOB.fullmatch(one):
            raise ClusterError(f"{one!r} is no SLURM job: sought a number, or array_task such as 123_4.")
        yield one


def _base(one: str) -> str:
    return one.partition("_")[0]


def _bases(ids: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(_base(one) for one in ids))


def _word(text: str) -> str | None:
    return None if text in ("", "None", "None assigned", "(null)", "Unknown", "n/a", "N/A") else text


def _from_queue(ids: Sequence[str]) -> dict[str, JobState]:
    columns = ",".join(f"{name}:{width}" for name, width in _COLUMNS.items())
    ends = list(itertools.accumulate(_COLUMNS.values()))
    found: dict[str, JobState] = {}
    for chunk in chunks(_bases(ids)):
        # -r spells arrays out task by task; -t all adds what ended within MinJobAge
        command = ["squeue", "-a", "-h", "-r", "-t", "all", "-O", columns, "-j", ",".join(chunk)]
        # squeue fails for a single job that is no longer there, and leaves out such jobs among several
        for line in run(command, tolerate=["Invalid job id"]).splitlines():
            cells = [line[a:b].strip() for a, b in zip([0, *ends], ends, strict=False)]
            for one in expand(cells[0]):
                found[one] = JobState(
                    _STATES.get(cells[1].split(" ")[0], "unknown"),
                    reason=_word(cells[6]),
                    node=_word(cells[5]),
                    elapsed_s=seconds(cells[2]),
                    restarts=int(cells[4]) if cells[4].isdecimal() else 0,
                    left_s=seconds(cells[3]),
                )
    return found


def _from_accounting(ids: Sequence[str]) -> dict[str, JobState] | None:
    """The newest attempt of each; None where accounting does not answer.

    Every attempt of a requeued job has a row of its own (-D), told apart by the time of submission, which a requeue
    sets anew.
    """
    attempts: dict[str, list[tuple[str, JobState]]] = {}
    for chunk in chunks(_bases(ids)):
        try:
            text = run(["sacct", "-n", "-P", "-X", "-D", "-o", _SACCT, "-j", ",".join(chunk)])
        except ClusterError:
            # switched off, or its data base is down, or no sacct: scontrol is asked instead
            return None
        for line in text.splitlines():
            cells = line.split("|")
            if len(cells) != 6:
                continue
            word, _, rest = cells[1].partition(" ")
            state = _STATES.get(word, "unknown")
            exit_code, signal = _exit(cells[2], state)
            job = JobState(
                state,
                reason=f"{word} {rest}" if rest else None,
                node=_word(cells[5]),
                elapsed_s=int(cells[3]) if cells[3].isdecimal() else None,
                exit_code=exit_code,
                signal=signal,
            )
            for one in expand(cells[0]):
                # a row that says REQUEUED is over: another follows
                attempts.setdefault(one, []).append((cells[4], job))
    newest = {}
    for one, rows in attempts.items():
        rows.sort(key=lambda row: row[0])
        again = sum(job.state in ("pending", "preempted", "node_fail") for _, job in rows[:-1])
        newest[one] = replace(rows[-1][1], restarts=again)
    return newest


def _exit(text: str, state: State) -> tuple[int | None, int | None]:
    """Exit code and signal of SLURM's ``code:signal``."""
    code, _, signal = text.partition(":")
    if state not in ("finished", "failed", "oom") or not (code.isdecimal() and signal.isdecimal()):
        return None, None
    return (None, int(signal)) if int(signal) else (int(code), None)


def _from_controller(ids: Sequence[str]) -> dict[str, JobState]:
    found: dict[str, JobState] = {}
    bases = _bases(ids)
    which = [[base] for base in bases] if len(bases) <= _FEW else [[]]
    for one in which:
        text = run(["scontrol", "-a", "-o", "show", "job", *one], tolerate=["Invalid job id", "not found"])
        for line in text.splitlines():
            # first ones win: what a user can name (Command=, Comment=) comes later in the line
            pairs = dict(reversed(re.findall(r"(\w+)=(\S*)", line)))
            if "JobState" not in pairs:
                continue
            state = _STATES.get(pairs["JobState"], "unknown")
            exit_code, signal = _exit(pairs.get("ExitCode", ""), state)
            job = JobState(
                state,
                reason=_word(pairs.get("Reason", "")),
                node=_word(pairs.get("NodeList", "")),
                elapsed_s=seconds(pairs.get("RunTime", "")),
                exit_code=exit_code,
                signal=signal,
                restarts=int(pairs.get("Restarts", "0")),
            )
            array, task = pairs.get("ArrayJobId"), pairs.get("ArrayTaskId")
            for name in expand(f"{array}_[{task}]" if array and task else pairs["JobId"]):
                found[name] = job
    return {one: found[one] for one in ids if one in found}


def expand(text: str) -> list[str]:
    """The jobs of ``123``, ``123_4`` or ``123_[5-9,20-60:3%2]``; empty for anything else."""
    if _JOB.fullmatch(text):
        return [text]
    match = re.fullmatch(r"(\d+)_\[([\d,:-]+)(?:%\d+)?\]", text)
    if not match:
        return []
    tasks = []
    for part in match[2].split(","):
        first, last, step = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part).groups()  # type: ignore[union-attr]
        tasks += range(int(first), int(last or first) + 1, int(step or 1))
    return [f"{match[1]}_{task}" for task in tasks]


def cancel_jobs(ids: Sequence[str]) -> None:
    """Cancel ``ids``; those that have ended already are fine. ``"123"`` of an array means all its tasks.

    Raises:
        ClusterError: the cluster does not answer, or a job is someone else's.
    """
    tasks: dict[str, list[int]] = {}
    for one in _checked(ids):
        base, _, task = one.partition("_")
        tasks.setdefault(base, []).extend([int(task)] if task else [])
    whole = {one for one in ids if "_" not in one}
    # one request to the controller for an array's tasks instead of one for each
    names = [
        base if base in whole else f"{base}_[{part}]"
        for base, numbers in tasks.items()
        for part in ([""] if base in whole else _ranges(numbers))
    ]
    for chunk in chunks(names):
        run(
            ["scancel", *chunk],
            timeout_s=120.0,
            tolerate=["Invalid job id", "already completing or completed", "already completed"],
        )


def _ranges(numbers: Iterable[int], size: int = 100) -> list[str]:
    """``["1-3,7"]`` of 7, 1, 2, 3, in pieces of at most ``size`` ranges."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [f"{a}-{b}" if b > a else f"{a}" for a, b in runs]
    return [",".join(words[i : i + size]) for i in range(0, len(words), size)]


_NEVER = "it will not start as it is: cancel it and submit it again with"
_LATER = "it starts by itself once"
_REASONS: Mapping[str, str] = {
    "PartitionTimeLimit": f"its time limit is above the partition's MaxTime; {_NEVER} a smaller timeout_min",
    "PartitionNodeLimit": f"it asks for more nodes than the partition allows; {_NEVER} fewer nodes",
    "PartitionDown": f"its partition is down; {_LATER} the partition is up again",
    "PartitionInactive": f"its partition is inactive; {_LATER} the partition is up again",
    "BadConstraints": f"no node can satisfy what it asks for; {_NEVER} other nodes, GPUs, memory or constraint",
    "AccountNotAllowed": f"its account may not use this partition; {_NEVER} another account or partition",
    "QOSNotAllowed": f"its QOS may not be used in this partition or by this account; {_NEVER} another qos",
    "InvalidAccount": f"its account is not valid; {_NEVER} another account",
    "InvalidQOS": f"its QOS is not valid; {_NEVER} another qos",
    "DependencyNeverSatisfied": "a job it depends on failed, so it will never start: cancel it",
    "JobHeldUser": "it is held: release it with 'scontrol release <job>'",
    "JobHeldAdmin": "an administrator holds it: ask them, only they can release it",
    "JobHoldMaxRequeue": "it was requeued too often and is held now: see its log, then 'scontrol release <job>'",
    "launch failed requeued held": "its start failed and it is held now: see its log, then 'scontrol release <job>'",
    "ReservationDeleted": f"its reservation is gone; {_NEVER} another reservation or none",
    "ReqNodeNotAvail": f"nodes that it needs are down, drained or reserved; {_LATER} they are back",
    "NodeDown": f"a node that it needs is down; {_LATER} the node is back",
    "Nodes required for job are DOWN": f"nodes that it needs are down, drained or reserved; {_LATER} they are back",
    "MaxMemPerLimit": f"it asks for more memory than a job may have here; {_NEVER} less memory",
}
_LIMIT = re.compile(r"(Assoc|QOS)(Grp|Max)(\w*)")


def explain(reason: str | None) -> str | None:
    """Why a job with this ``reason`` of SLURM's does not start, and what to do; None where it only waits its turn."""
    if not reason:
        return None
    for word, meaning in _REASONS.items():
        if reason == word or reason.startswith((f"{word},", f"{word} ", f"{word}(")):
            return f"{reason}: {meaning}"
    match = _LIMIT.match(reason)
    if not match:
        return None
    whose = {"Assoc": "account", "QOS": "QOS"}[match[1]]
    if match[2] == "Max" and re.search(r"Per(Job|Node)|WallDuration", match[3]):
        return f"{reason}: it asks for more than one job of its {whose} may have; {_NEVER} a smaller size"
    if match[2] == "Max":
        return None
    if "Minutes" in match[3]:
        return f"{reason}: the time or budget of its {whose} is used up; wait for the next period or take another"
    return (
        f"{reason}: its {whose} is at a limit that all its jobs share; {_LATER} others end, and never if this job "
        f"alone is above the limit ('sacctmgr show {'assoc' if whose == 'account' else 'qos'}' lists the limits)"
    )
