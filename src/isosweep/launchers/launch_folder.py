"""What every launcher does with a plan: it writes the launch's folder, and ends the jobs that need no process."""

import sys
from collections.abc import Sequence
from pathlib import Path

from isosweep.config.schema import CONF
from isosweep.launchers.planning import Planned
from isosweep.record import source_patch
from isosweep.record.clock import utc_now
from isosweep.record.code_version import code_hash
from isosweep.record.launch import Launch, SweepJob, new_launch_folder, sweeps_root, write_launch
from isosweep.record.lock import this_process
from isosweep.record.metrics import objective
from isosweep.record.outcome import JobOutcome
from isosweep.record.schema import ErrorRecord

MAIN = CONF.parent / "main.py"


def title(planned: Planned) -> str:
    """The run in a few words: data set, scene, model, seed and key; its overrides where it could not be composed."""
    if planned.folder is None:
        return " ".join(planned.overrides)
    return f"{planned.dataset}/{planned.scene} {planned.label} s{planned.seed} {(planned.key or '')[:8]}"


def single_run(overrides: Sequence[str], extra: Sequence[str], processes: int = 1) -> list[str]:
    """The command that runs one job by itself, as a person could repeat it."""
    torchrun = ["-m", "isosweep.app.several", str(processes)] if processes > 1 else []
    return [sys.executable, *torchrun, str(MAIN), *overrides, *extra]


def write_plan(
    sweep: str, run_root: Path, planned: Sequence[Planned], hydra_overrides: Sequence[str], launcher: str
) -> tuple[Path, Launch]:
    """Make the launch's folder and its list of jobs."""
    folder = new_launch_folder(sweeps_root(run_root), sweep)
    launch = Launch(
        id=folder.name,
        sweep=sweep,
        created=utc_now(),
        launcher=launcher,
        holder=this_process(0.0),
        cwd=str(Path.cwd()),
        run_root=str(run_root.resolve()),
        hydra_overrides=list(hydra_overrides),
        code_hash=code_hash(),
        git=source_patch.git_state()[0],
        jobs=[
            SweepJob(
                number=p.number,
                overrides=p.overrides,
                title=title(p) if p.key is None else title(p).rpartition(" ")[0],
                names=dict(p.run.names) if p.key is not None else {},
                key=p.key,
                folder=str(p.folder.resolve()) if p.folder else None,
            )
            for p in planned
        ],
    )
    write_launch(folder, launch)
    return folder, launch


def outcome_without_process(planned: Planned) -> JobOutcome | None:
    """The outcome of a job that needs no process; None where one is needed."""
    folder = None if planned.folder is None else str(planned.folder.resolve())
    if planned.todo in ("skip", "double"):
        value = objective(planned.folder) if planned.folder is not None and planned.folder.is_dir() else None
        finite = value if value is not None and value == value else None
        return JobOutcome(status="skipped", key=planned.key, folder=folder, value=finite, ended=utc_now())
    if planned.todo == "running":
        error = ErrorRecord(type="LockHeld", message=f"{planned.folder}: {planned.reason}", traceback="")
        return JobOutcome(status="elsewhere", key=planned.key, folder=folder, error=error, ended=utc_now())
    return None
