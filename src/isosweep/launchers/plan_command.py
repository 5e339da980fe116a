"""``runs.py plan``: the multirun's own composition, with a table in the launcher's place."""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.types import HydraContext
from omegaconf import DictConfig

from isosweep.config.schema import CONF
from isosweep.launchers import hydra_sweeps, tables
from isosweep.launchers.columns import titles
from isosweep.launchers.estimates import estimate, human, wall_clock
from isosweep.launchers.planning import Planned, tell_schedules
from isosweep.launchers.slots import make_slots
from isosweep.record.summaries import read_summaries
from isosweep.runtime.gpus import visible_gpus
from isosweep.runtime.text import printable


def plan(arguments: Sequence[str]) -> int:
    """Print what ``python main.py -m <arguments>`` would do.

    Returns: 0; 2 where a run cannot start, or the sweep is empty; 1 where the command cannot be read.
    """
    codes: list[int] = []

    def show(context: HydraContext, config: DictConfig, name: str, jobs: list[list[str]]) -> None:
        codes.append(_show(context, config, name, jobs))

    hydra_sweeps.on_jobs = show
    rest = [a for a in arguments if a not in ("-m", "--multirun")]
    sys.argv = [str(CONF.parent / "main.py"), "-m", *rest]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            return int(end.code)
    if not codes:
        print(
            "error: only the grid sweeper's runs are known beforehand; this sweeper chooses them as it goes",
            file=sys.stderr,
        )
        return 1
    return codes[0]


def _show(context: HydraContext, config: DictConfig, name: str, jobs: list[list[str]]) -> int:
    planned = hydra_sweeps.planned_jobs(context, config, jobs, hydra_sweeps.node_device(config))
    rows, broken = read_summaries(Path(config.run.root))
    seconds = estimate(planned, rows.values())
    tables.show(tables.plan_table(planned, seconds, tables.width()))
    counts = {todo: sum(p.todo == todo for p in planned) for todo in dict.fromkeys(p.todo for p in planned)}
    print(f"sweep {name}: {len(planned)} runs: {', '.join(f'{n} {todo}' for todo, n in counts.items())}")
    tell_schedules(planned)
    print(_time(planned, seconds, config))
    for path, problem in broken.items():
        print(printable(f"broken: {path}: {problem}"), file=sys.stderr)
    wrong = [p for p in planned if p.todo == "error"]
    for p, title in zip(wrong, titles([p.run for p in wrong], [p.run for p in planned]), strict=True):
        print(printable(f"error: job {p.number + 1} ({title}): {p.reason}"), file=sys.stderr)
    return 2 if wrong else 0


def _time(planned: Sequence[Planned], seconds: dict[int, float], config: DictConfig) -> str:
    starting = [p for p in planned if p.starts]
    if not starting:
        return "nothing to do"
    if not seconds:
        return f"{len(starting)} runs to start; no finished run resembles them, so their time is unknown"
    known = [seconds[p.number] for p in starting if p.number in seconds]
    total = sum(known) * len(starting) / len(known)
    text = f"{len(starting)} runs to start: about {human(total)} of computing"
    launcher = config.hydra.launcher
    if str(launcher.get("_target_", "")).endswith("LocalLauncher") and "slots_per_gpu" in launcher:
        gpus = visible_gpus() if launcher.gpus is None else list(launcher.gpus)
        slots = len(make_slots(gpus, launcher.slots, launcher.slots_per_gpu, launcher.gpus_per_run))
        mean = total / len(starting)
        wall = wall_clock([seconds.get(p.number, mean) for p in starting], slots)
        text += f", {human(wall)} in {slots} slot{'s' if slots > 1 else ''}"
    return text
