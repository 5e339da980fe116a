"""What became of every run and every job: from records first, then outcomes, then whoever is at work."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isosweep.record.launch import (
    Job,
    Launch,
    latest_jobs,
    launch_folders,
    log_path,
    outcome_path,
    read_launch,
    sweep_names,
    sweeps_root,
)
from isosweep.record.lock import holder_is_alive, process_is_alive
from isosweep.record.outcome import Outcome, read_outcome
from isosweep.record.summaries import Row, read_rows

DONE = ("finished",)
ALIVE = ("running", "pending", "waiting")
"""States that end by themselves; every other one but 'finished' is for ``retry``."""

SCORES = ("nvs/psnr", "train_view/psnr", "nvs/ssim", "geometry/chamfer", "geometry/accuracy")


@dataclass(frozen=True)
class Entry:
    """One run of a list: its state in one word, and where to look."""

    state: str
    title: str
    step: str = ""
    score: str = ""
    seconds: float = 0.0
    cause: str = ""
    where: str = ""
    folder: Path | None = None
    log: Path | None = None
    key: str | None = None
    overrides: tuple[str, ...] = ()
    sweep: str = ""
    launch: Path | None = None
    job_id: str | None = None
    row: Row | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        paths = {name: str(v) if (v := getattr(self, name)) else None for name in ("folder", "log", "launch")}
        scores = self.row.scores.values if self.row and self.row.scores else {}
        plain = ("state", "title", "step", "seconds", "cause", "where", "key", "sweep", "job_id")
        return (
            {name: getattr(self, name) for name in plain}
            | paths
            | {"scores": scores, "overrides": self.overrides}
        )


@dataclass(frozen=True)
class Listing:
    entries: list[Entry]
    broken: dict[Path, str]
    """Files that should be records, outcomes or launches and are not -> what is wrong with them."""


def gather(
    root: Path, sweep: str | None, cluster: Callable[[Sequence[str]], Mapping[str, Any]] | None = None
) -> Listing:
    """All runs below ``root`` (with ``sweep``: its jobs and its runs), in the order they were planned.

    Args:
        cluster: job ids -> their states on SLURM (``.state``, ``.reason``); asked only about jobs whose record is open.
    """
    rows, broken = read_rows(root)
    by_key = {row.run_key: (folder, row) for folder, row in rows.items()}
    jobs, bad = _jobs(sweeps_root(root), sweep)
    broken |= bad
    entries: list[Entry] = []
    told: set[str] = set()
    for folder, launch, job in jobs:
        entry, key, problem = _of_job(folder, launch, job, by_key)
        if problem is not None:
            broken[outcome_path(folder, job.number)] = problem
        if key in told:
            continue  # two sweeps share a run
        told.add(key)
        entries.append(entry)
    wanted = None if sweep is None else sweep
    for folder, row in rows.items():
        if row.run_key not in told and (wanted is None or row.name == wanted):
            entries.append(_of_row(folder, row))
    return Listing(_with_cluster(entries, cluster), broken)


def _jobs(root: Path, sweep: str | None) -> tuple[list[tuple[Path, Launch, Job]], dict[Path, str]]:
    names = [sweep] if sweep is not None else sweep_names(root)
    found: list[tuple[Path, Launch, Job]] = []
    broken: dict[Path, str] = {}
    for name in names:
        launches = []
        for folder in launch_folders(root, name):
            try:
                launches.append((folder, read_launch(folder)))
            except (ValueError, OSError) as error:
                broken[folder / "launch.json"] = str(error)
        found += latest_jobs(launches)
    return found, broken


def _of_job(
    folder: Path, launch: Launch, job: Job, by_key: Mapping[str, tuple[Path, Row]]
) -> tuple[Entry, str, str | None]:
    """The entry of a job, what it is known by (run key, or its overrides), and a broken outcome's problem."""
    about: dict[str, Any] = {
        "overrides": tuple(job.overrides),
        "sweep": launch.sweep,
        "launch": folder,
        "log": _log(folder, launch, job),
        "job_id": job.job_id,
    }
    expected = job.key or ""
    if expected in by_key and by_key[expected][1].status == "finished":
        return replace(_of_row(*by_key[expected]), **about), expected, None
    problem, outcome = None, None
    try:
        outcome = read_outcome(outcome_path(folder, job.number))
    except ValueError as error:
        problem = str(error)
    key = (outcome.key if outcome is not None else None) or expected
    if key in by_key:
        entry = _of_row(*by_key[key])
        if entry.state != "running" and outcome is None and _still_to_come(launch, job):
            entry = replace(entry, state="waiting")
        elif outcome is not None and outcome.status == "failed" and entry.state == "preempted":
            entry = replace(entry, state="failed", cause=_cause(outcome))
        return replace(entry, **about), key, problem
    title = job.title or " ".join(job.overrides)
    if outcome is not None:
        state = outcome.status
        if state == "running" and not _alive(outcome):
            state = "lost"
        entry = Entry(state, title, cause=_cause(outcome), where=outcome.host, key=key or None, **about)
    else:
        entry = Entry(
            "waiting" if _still_to_come(launch, job) else "not started", title, key=key or None, **about
        )
    return entry, key or title, problem


def _log(folder: Path, launch: Launch, job: Job) -> Path:
    if launch.launcher == "slurm" and job.job_id is not None:
        return folder / "submitit" / f"{job.job_id}_0_log.out"  # submitit's name
    return log_path(folder, job.number)


def _of_row(folder: Path, row: Row) -> Entry:
    state: str = row.status
    if state == "running" and not holder_is_alive(folder):
        state = "lost"
    elif state != "finished" and state != "running" and holder_is_alive(folder):
        state = "running"
    last = row.attempts[-1] if row.attempts else None
    cause = ""
    if state == "lost":
        cause = "its process is gone and left no word"
    elif row.error is not None and state != "running":
        cause = f"{row.error.type}: {(row.error.message.splitlines() or [''])[0]}"
    where = "" if last is None else f"{last.host}{f' job {last.job}' if last.job else ''}"
    return Entry(
        state=state,
        title=f"{row.dataset}/{row.scene} {row.label} s{row.seed}",
        step=f"{row.steps_done}/{row.max_steps}",
        score=_score(row),
        seconds=row.times.total_s,
        cause=cause,
        where=where if state != "finished" else row.device,
        folder=folder,
        log=folder / "run.log",
        key=row.run_key,
        overrides=tuple(row.overrides),
        sweep=row.name or "",
        job_id=last.job if last is not None else None,
        row=row,
    )


def _score(row: Row) -> str:
    values = row.scores.values if row.scores is not None else {}
    found = next(((name, values[name]) for name in SCORES if values.get(name) is not None), None)
    return "" if found is None else f"{found[0]} {found[1]:.3f}"


def _still_to_come(launch: Launch, job: Job) -> bool:
    """Whether somebody will still start the job: its launcher lives, or a cluster has it."""
    return job.job_id is not None or process_is_alive(launch.holder) is True


def _alive(outcome: Outcome) -> bool:
    """Whether the process of a job that has no record yet may still be at work."""
    return outcome.job is not None or Path(f"/proc/{outcome.pid}").exists()


def _cause(outcome: Outcome) -> str:
    if outcome.error is None:
        return ""
    return f"{outcome.error.type}: {(outcome.error.message.splitlines() or [''])[0]}"


_FROM_CLUSTER = {
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
    entries: Iterable[Entry], cluster: Callable[[Sequence[str]], Mapping[str, Any]] | None
) -> list[Entry]:
    """The same where SLURM knows better: a job that waits, was cancelled, or died before it could write."""
    found = list(entries)
    ids = sorted({e.job_id for e in found if e.job_id and e.state not in ("finished", "failed", "oom")})
    if cluster is None or not ids:
        return found
    states = cluster(ids)
    return [_joined(e, states.get(e.job_id or "")) for e in found]


def _joined(entry: Entry, seen: Any) -> Entry:
    if seen is None or entry.state in ("finished", "failed", "oom"):
        return entry
    state = _FROM_CLUSTER.get(seen.state)
    if state is None or (state == "running" and entry.state == "running"):
        return entry
    why = f"SLURM job {entry.job_id}: {seen.state}{f' ({seen.reason})' if seen.reason else ''}"
    if state == "failed" and entry.row is not None and entry.state in ("preempted", "timeout"):
        return entry  # it saved and ended in order; SLURM only sees its exit code
    return replace(entry, state=state, cause=why if state != "running" else "")
