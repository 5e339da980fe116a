"""``hydra/launcher=local``: the runs of a sweep on this machine, a process each, in slots."""

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from isosweep.config import CONF
from isosweep.launchers.display import Lines, LiveTable, failure_table
from isosweep.launchers.machine import visible_gpus
from isosweep.launchers.planning import Planned
from isosweep.launchers.pool import Pool, Task
from isosweep.launchers.slots import make_slots
from isosweep.record import provenance
from isosweep.record.clock import utc_now
from isosweep.record.files import objective
from isosweep.record.launch import (
    Job,
    Launch,
    log_path,
    new_launch_folder,
    outcome_path,
    this_host,
    write_launch,
)
from isosweep.record.outcome import GOOD, Outcome
from isosweep.record.schema import ErrorRecord

log = logging.getLogger("isosweep")

MAIN = CONF.parent / "main.py"


def title(planned: Planned) -> str:
    """The run in a few words: where it belongs, and what was swept."""
    if planned.folder is None:
        return " ".join(planned.overrides)
    return f"{planned.dataset}/{planned.scene} {planned.label} s{planned.seed} {(planned.key or '')[:8]}"


def single_run(overrides: Sequence[str], extra: Sequence[str]) -> list[str]:
    """The command that runs one job by itself, as a person could repeat it."""
    return [sys.executable, str(MAIN), *overrides, *extra]


def write_plan(
    sweep: str, root: Path, planned: Sequence[Planned], hydra_overrides: Sequence[str], launcher: str
) -> tuple[Path, Launch]:
    """Make the launch's folder and its list of jobs."""
    folder = new_launch_folder(root, sweep)
    host, pid = this_host()
    launch = Launch(
        id=folder.name,
        sweep=sweep,
        created=utc_now(),
        launcher=launcher,
        host=host,
        pid=pid,
        cwd=str(Path.cwd()),
        hydra_overrides=list(hydra_overrides),
        code_hash=provenance.code_hash(),
        git=provenance.git_state()[0],
        jobs=[
            Job(number=p.number, overrides=p.overrides, key=p.key, folder=str(p.folder) if p.folder else None)
            for p in planned
        ],
    )
    write_launch(folder, launch)
    return folder, launch


def settled(planned: Planned) -> Outcome | None:
    """The outcome of a job that needs no process; None where one is needed."""
    folder = None if planned.folder is None else str(planned.folder.resolve())
    if planned.todo in ("skip", "double"):
        value = objective(planned.folder) if planned.folder is not None and planned.folder.is_dir() else None
        finite = value if value is not None and value == value else None
        return Outcome(status="skipped", key=planned.key, folder=folder, value=finite, ended=utc_now())
    if planned.todo == "running":
        error = ErrorRecord(type="LockHeld", message=f"{planned.folder}: {planned.reason}", traceback="")
        return Outcome(status="elsewhere", key=planned.key, folder=folder, error=error, ended=utc_now())
    return None


def launch_here(
    sweep: str,
    folder: Path,
    planned: Sequence[Planned],
    *,
    extra: Sequence[str],
    gpus: Sequence[str] | None,
    slots: int | None,
    slots_per_gpu: int,
    max_failures: int | None,
    grace_s: float,
) -> dict[int, Outcome]:
    """Run what is left of a plan; number -> outcome of every job that has one.

    Raises:
        KeyboardInterrupt: somebody asked to stop; every started run has saved and ended.
    """
    outcomes = {p.number: o for p in planned if (o := settled(p)) is not None}
    for number, outcome in outcomes.items():
        outcome.write(outcome_path(folder, number))
    tasks = [
        Task(
            p.number,
            title(p),
            single_run(p.overrides, extra),
            log_path(folder, p.number),
            outcome_path(folder, p.number),
        )
        for p in planned
        if p.number not in outcomes
    ]
    places = make_slots(visible_gpus() if gpus is None else gpus, slots, slots_per_gpu)
    log.info(
        "sweep %s: %d runs, %d of them finished already; %d slots (%s each)\n%s",
        sweep,
        len(planned),
        sum(p.todo in ("skip", "double") for p in planned),
        len(places),
        places[0],
        folder,
    )
    for task in tasks:
        task.log.write_text(f"{shlex.join(task.command)}\n")
    watcher = (LiveTable if sys.stdout.isatty() else Lines)(len(tasks), sys.stdout)
    pool = Pool(places, watcher, max_failures=max_failures, grace_s=grace_s)
    try:
        outcomes |= pool.run(tasks)
    finally:
        if isinstance(watcher, LiveTable):
            watcher.close()
    every = [Task(p.number, title(p), [], log_path(folder, p.number), Path()) for p in planned]
    if pool.stopped_by is not None or any(
        p.number not in outcomes or outcomes[p.number].status not in GOOD for p in planned
    ):
        print(failure_table(every, outcomes, sweep), file=sys.stderr, flush=True)
    if pool.stopped_by is not None:
        raise KeyboardInterrupt
    return outcomes
