"""The state of every run and every job of a sweep: from its record, else its outcome file, else SLURM."""

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from isosweep.launchers.columns import Run, names_given
from isosweep.launchers.slurm.job_states import JobState, State, explain
from isosweep.record.clock import seconds_since
from isosweep.record.launch import (
    Launch,
    SweepJob,
    latest_jobs,
    launch_folders,
    log_path,
    outcome_path,
    read_launch,
    sweep_names,
    sweeps_root,
)
from isosweep.record.lock import holder_is_alive, process_is_alive
from isosweep.record.outcome import GOOD, JobOutcome, read_outcome
from isosweep.record.progress import ProgressNote, read_progress
from isosweep.record.reading import newer
from isosweep.record.schema import STOPPED
from isosweep.record.summaries import RunSummary, read_summaries, uncollected
from isosweep.runtime.children import exists
from isosweep.runtime.stops import read_stop
from isosweep.runtime.text import printable

RunState = Literal[
    "finished", "running", "pending", "waiting", "not started", "queued", "failed", "oom", "timeout", "preempted",
    "interrupted", "cancelled", "lost", "skipped", "elsewhere", "deleted", "broken",
]  # fmt: skip
"""What ``runs.py status`` says of a run. 'pending' waits in SLURM's queue, 'waiting' for its launcher; of a 'lost'
run the process is gone without an outcome; an 'elsewhere' one was found at work in another process; of a 'deleted' one
the folder is gone, and of a 'broken' one the record cannot be read."""
DONE: tuple[RunState, ...] = ("finished",)
ALIVE: tuple[RunState, ...] = ("running", "pending", "waiting")
"""States that end by themselves. `to_retry` says which of the others are started again by ``retry``."""

SCORES = ("nvs/psnr", "train_view/psnr", "nvs/ssim", "geometry/chamfer", "geometry/accuracy")


_TEXTS = ("title", "step", "score", "cause", "machine", "key", "sweep", "job_id")


@dataclass(frozen=True)
class Entry:
    """One run of a list: its state, its figures, and the files that tell more.

    Every text is safe to print; ``given``, ``row`` and the paths are as they were found.
    """

    state: RunState
    title: str
    step: str = ""
    score: str = ""
    seconds: float = 0.0
    cause: str = ""
    machine: str = ""
    """Host and job of the newest attempt; the device once it is finished."""
    folder: Path | None = None
    log: Path | None = None
    key: str | None = None
    overrides: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    """The overrides as they were given, to start the job again."""
    number: int | None = None
    """Of the job in its launch."""
    ended_well: bool = False
    """Whether its job has finished, or has found it finished: of a deleted run, that nobody misses it."""
    sweep: str = ""
    launch: Path | None = None
    job_id: str | None = None
    row: RunSummary | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    """'dataset', 'scene', 'model', 'encoding' and 'seed' -> value, as far as they are known."""
    note: ProgressNote | None = None
    """How far a run at work is."""

    @property
    def run(self) -> Run:
        """What tells it from other runs."""
        return Run(self.names, self.overrides, self.key)

    def __post_init__(self) -> None:
        own = (self.title, self.step, self.score, self.cause, self.machine, self.key or "", self.sweep)
        if "".join((*own, self.job_id or "", *self.overrides)).isprintable():
            return
        for name in _TEXTS:
            value = getattr(self, name)
            object.__setattr__(self, name, value and printable(value))
        object.__setattr__(self, "overrides", tuple(map(printable, self.overrides)))

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        paths = {name: str(v) if (v := getattr(self, name)) else None for name in ("folder", "log", "launch")}
        scores = self.row.scores.values if self.row and self.row.scores else {}
        plain = ("state", "title", "step", "seconds", "cause", "key", "sweep", "job_id")
        return (
            {name: getattr(self, name) for name in plain}
            | {"where": self.machine}
            | paths
            | {"scores": scores, "overrides": self.overrides}
        )


@dataclass(frozen=True)
class Listing:
    entries: list[Entry]
    broken: dict[Path, str]
    """Files that should be records, outcomes or launches and are not -> what is wrong with them."""

    def complaints(self) -> list[str]:
        """One line, safe to print, for each broken file."""
        return [printable(f"broken: {path}: {problem}") for path, problem in self.broken.items()]


def to_retry(entry: Entry) -> bool:
    """Whether ``retry`` starts a run again unless states are named.

    A broken one, or one of a later version, is refused when it starts, and a deleted one that had finished was deleted
    on purpose.
    """
    if entry.state in (*DONE, *ALIVE, "broken") or (entry.state == "deleted" and entry.ended_well):
        return False
    return entry.row is None or newer(entry.row.schema_version) is None


def gather(
    root: Path, sweep: str | None, cluster: Callable[[Sequence[str]], Mapping[str, JobState]] | None = None
) -> Listing:
    """All runs below ``root`` (with ``sweep``: its jobs and its runs), in the order they were planned.

    Args:
        cluster: job ids -> their states on SLURM; not called for jobs that finished, failed or ran out of memory.
    """
    with uncollected():
        return _gather(root, sweep, cluster)


def _gather(
    root: Path, sweep: str | None, cluster: Callable[[Sequence[str]], Mapping[str, JobState]] | None
) -> Listing:
    rows, broken = read_summaries(root)
    by_key = {row.run_key: (folder, row) for folder, row in rows.items()}
    # a folder's name ends in its run's key
    unread = {p.parent.name.rpartition("-")[2]: p for p in broken if p.parent not in rows}
    there = root.is_dir()
    jobs, bad = _jobs(sweeps_root(root), sweep)
    broken |= bad
    entries: list[Entry] = []
    listed: set[str] = set()
    for folder, launch, job in jobs:
        entry, key, problem = _entry_of_job(folder, launch, job, by_key)
        if key in unread and key not in by_key:
            entry = _broken(entry, unread[key], broken[unread[key]])
        elif entry.state == "deleted" and not there:
            entry = replace(entry, state="lost", cause=f"{root} is not there")
        if problem is not None:
            broken[outcome_path(folder, job.number)] = problem
        if key in listed:
            continue  # two sweeps share a run
        listed.add(key)
        entries.append(entry)
    for folder, row in rows.items():
        if row.run_key not in listed and (sweep is None or row.name == sweep):
            entries.append(_entry_of_row(folder, row))
    named = [e if e.names else replace(e, names=names_given(e.overrides)) for e in entries]
    return Listing(_with_cluster(named, cluster), broken)


def _jobs(root: Path, sweep: str | None) -> tuple[list[tuple[Path, Launch, SweepJob]], dict[Path, str]]:
    names = [sweep] if sweep is not None else sweep_names(root)
    found: list[tuple[Path, Launch, SweepJob]] = []
    broken: dict[Path, str] = {}
    for name in names:
        launches: list[tuple[Path, Launch]] = []
        for folder in launch_folders(root, name):
            try:
                launches.append((folder, read_launch(folder)))
            except (ValueError, OSError) as error:
                broken[folder / "launch.json"] = str(error)
        found += latest_jobs(launches)
    return found, broken


def _entry_of_job(
    folder: Path, launch: Launch, job: SweepJob, by_key: Mapping[str, tuple[Path, RunSummary]]
) -> tuple[Entry, str, str | None]:
    """The entry of a job, what it is known by (run key, or its overrides), and a broken outcome's problem."""
    about: dict[str, Any] = {
        "overrides": tuple(job.overrides),
        "given": tuple(job.overrides),
        "number": job.number,
        "sweep": launch.sweep,
        "launch": folder,
        "log": _log_of_job(folder, launch, job),
        "job_id": job.job_id,
    }
    expected = job.key or ""
    searched = any(text.startswith("hydra/sweeper=optuna") for text in launch.hydra_overrides)
    if expected in by_key and by_key[expected][1].status == "finished" and not searched:
        return replace(_entry_of_row(*by_key[expected]), **about), expected, None
    problem, outcome = None, None
    try:
        outcome = read_outcome(outcome_path(folder, job.number))
    except (ValueError, OSError) as error:
        problem = str(error)
    if outcome is not None:
        about["ended_well"] = outcome.status in GOOD
    key = (outcome.key if outcome is not None else None) or expected
    if key in by_key:
        entry = _entry_of_row(*by_key[key])
        if entry.state != "running" and outcome is None and _will_start(launch, job):
            entry = replace(entry, state="waiting")
        elif outcome is not None and outcome.status == "failed" and entry.state in STOPPED:
            entry = replace(entry, state="failed", cause=cause_of(outcome))
        if searched and outcome is not None and outcome.value is not None:
            entry = replace(entry, score=f"val/psnr {outcome.value:.3f}")  # what the search goes by
        return _cancelled(replace(entry, **about), folder), key, problem
    title = job.title or " ".join(job.overrides)
    about["names"] = job.names
    if outcome is not None:
        state: RunState = outcome.status
        if outcome.folder is not None and not os.path.isdir(outcome.folder) and not _lives_here(outcome):
            return _deleted(outcome, title, key, about), key or title, problem
        if state == "running" and not _may_be_running(outcome):
            state = "lost"
        entry = Entry(state, title, cause=cause_of(outcome), machine=outcome.host, key=key or None, **about)
    else:
        entry = Entry(
            "waiting" if _will_start(launch, job) else "not started", title, key=key or None, **about
        )
    return _cancelled(entry, folder), key or title, problem


def _cancelled(entry: Entry, launch: Path) -> Entry:
    """The same; cancelled if ``runs.py cancel`` has stopped its launch and the run did not live to say so."""
    ended = entry.state in ("preempted", "lost") or (entry.state == "waiting" and entry.job_id is not None)
    if ended and read_stop(launch) == "cancelled":
        return replace(entry, state="cancelled", cause="runs.py cancel")
    return entry


def _deleted(outcome: JobOutcome, title: str, key: str, about: Mapping[str, Any]) -> Entry:
    """The entry of a job whose run had a folder that is gone now, also where SLURM does not say how the job ended."""
    how = "" if outcome.status == "running" else f"; it was {outcome.status}"
    cause = f"{outcome.folder} is gone{how}"
    return Entry("deleted", title, cause=cause, machine=outcome.host, key=key or None, **about)


def _broken(entry: Entry, path: Path, problem: str) -> Entry:
    cause = f"{path.name} cannot be read: {problem}"
    return replace(entry, state="broken", cause=cause, folder=path.parent)


def _log_of_job(folder: Path, launch: Launch, job: SweepJob) -> Path:
    if launch.launcher == "slurm" and job.job_id is not None:
        return folder / "submitit" / f"{job.job_id}_0_log.out"  # submitit's name
    return log_path(folder, job.number)


def _entry_of_row(folder: Path, row: RunSummary) -> Entry:
    state: RunState = row.status
    if state == "running" and not holder_is_alive(folder):
        state = "lost"
    elif state != "finished" and state != "running" and holder_is_alive(folder):
        state = "running"
    last = row.attempts[-1] if row.attempts else None
    cause = ""
    if state == "lost":
        cause = "its process is gone and wrote no error"
    elif row.error is not None and state != "running":
        cause = f"{row.error.type}: {(row.error.message.splitlines() or [''])[0]}"
    seconds, note = row.times.total_s, None
    if state == "running":
        seconds, note = seconds + seconds_since(row.times.updated), read_progress(folder)
    machine = "" if last is None else f"{last.host}{f' job {last.job}' if last.job else ''}"
    return Entry(
        state=state,
        title=f"{row.dataset}/{row.scene} {row.label} s{row.seed}",
        step=f"{row.steps_done}/{row.max_steps}",
        score=_score(row),
        seconds=seconds,
        cause=cause,
        machine=machine if state != "finished" else row.device,
        folder=folder,
        log=folder / "run.log",
        key=row.run_key,
        overrides=tuple(row.overrides),
        given=tuple(row.overrides),
        sweep=row.name or "",
        job_id=last.job if last is not None else None,
        row=row,
        names={
            "dataset": row.dataset,
            "scene": row.scene,
            "model": row.model,
            "encoding": row.encoding,
            "seed": str(row.seed),
        },
        note=note,
    )


def entry_at(folder: Path) -> Entry | None:
    """The run in a folder; None where it has no record yet, or one that cannot be read."""
    rows, _ = read_summaries(folder)
    return _entry_of_row(folder, rows[folder]) if folder in rows else None


def _score(row: RunSummary) -> str:
    values = row.scores.values if row.scores is not None else {}
    found = next(((name, values[name]) for name in SCORES if values.get(name) is not None), None)
    return "" if found is None else f"{found[0]} {found[1]:.3f}"


def _will_start(launch: Launch, job: SweepJob) -> bool:
    """Whether the job may still start: its launcher lives, or SLURM has it."""
    return job.job_id is not None or process_is_alive(launch.holder) is True


def _lives_here(outcome: JobOutcome) -> bool:
    """Whether the process of a job that says 'running' is one of this machine, and lives."""
    here = outcome.job is None and outcome.host == socket.gethostname()
    return here and outcome.ended is None and _may_be_running(outcome)


def _may_be_running(outcome: JobOutcome) -> bool:
    """Whether the process of a job that has no record yet may still be at work."""
    if outcome.job is not None or outcome.host != socket.gethostname():
        return True  # SLURM knows more, or nobody here can
    if outcome.pid <= 0:
        return False  # a group of processes, to os.kill
    return exists(outcome.pid) is not False  # one that this user may not see is there


def cause_of(outcome: JobOutcome) -> str:
    """Why a job failed, safe to print: type and first line of the message; '' where it has no error."""
    if outcome.error is None:
        return ""
    lines = outcome.error.message.strip().splitlines()
    return printable(f"{outcome.error.type}: {lines[0] if lines else 'no message'}")


_FROM_CLUSTER: Mapping[State, RunState] = {
    "pending": "pending",
    "running": "running",
    "completing": "running",
    "cancelled": "cancelled",
    "preempted": "preempted",
    "timeout": "timeout",
    "oom": "oom",
    "node_fail": "lost",
    "failed": "failed",
}


def _with_cluster(
    entries: Iterable[Entry], cluster: Callable[[Sequence[str]], Mapping[str, JobState]] | None
) -> list[Entry]:
    """The same, with SLURM's state of jobs that wait, were cancelled, or died before they could write."""
    found = list(entries)
    ids = sorted({e.job_id for e in found if e.job_id and e.state not in ("finished", "failed", "oom")})
    if cluster is None or not ids:
        return found
    states = cluster(ids)
    return [_with_job_state(e, states.get(e.job_id or "")) for e in found]


def _with_job_state(entry: Entry, seen: JobState | None) -> Entry:
    if seen is None or entry.state in ("finished", "failed", "oom"):
        return entry
    state = _FROM_CLUSTER.get(seen.state)
    if state is None and entry.state == "waiting":
        # SLURM has ended the job, or forgotten it, and it wrote nothing
        state = "failed" if seen.state == "finished" else "lost"
    if state is None or (state == "running" and (entry.state == "running" or entry.launch is None)):
        return entry  # outside a sweep, the job may be an interactive one, which outlives its runs
    if entry.launch is None and entry.state in ("interrupted", "cancelled", "timeout"):
        return entry  # nor does the end of such a job tell more than the run itself has said
    if entry.state in ("deleted", "broken") and state not in ALIVE:
        return entry
    reason = explain(seen.reason) or seen.reason
    why = f"SLURM job {entry.job_id}: {seen.state}{f' ({reason})' if reason else ''}"
    if state == "failed" and entry.state in (*STOPPED, "running", "elsewhere", "skipped"):
        return entry  # it ended in order, or another process has the run; SLURM only sees its exit code
    return replace(entry, state=state, cause=why if state != "running" else "")
