"""``hydra/launcher=local``: the runs of a sweep on this machine, a process each, in slots."""

import logging
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from isosweep.launchers.columns import titles
from isosweep.launchers.display import Lines, LiveTable, failure_table, summary
from isosweep.launchers.launch_folder import outcome_without_process, single_run
from isosweep.launchers.planning import Planned
from isosweep.launchers.pool import Pool, Task
from isosweep.launchers.settings import LocalSettings
from isosweep.launchers.slots import Slot, make_slots
from isosweep.record.launch import log_path, outcome_path
from isosweep.record.outcome import GOOD, JobOutcome
from isosweep.runtime.gpus import visible_gpus

log = logging.getLogger("isosweep")


def slots_for(settings: LocalSettings) -> list[Slot]:
    """The places for runs; InputError where the settings ask for what this machine does not have."""
    gpus = visible_gpus() if settings.gpus is None else settings.gpus
    return make_slots(gpus, settings.slots, settings.slots_per_gpu, settings.gpus_per_run)


def launch_here(
    sweep: str,
    folder: Path,
    planned: Sequence[Planned],
    *,
    run_root: str,
    extra: Sequence[str],
    settings: LocalSettings,
) -> dict[int, JobOutcome]:
    """Run what is left of a plan; number -> outcome of every job that has one.

    Raises:
        KeyboardInterrupt: a signal asked to stop; every started run has saved and ended.
    """
    outcomes = {p.number: o for p in planned if (o := outcome_without_process(p)) is not None}
    for number, outcome in outcomes.items():
        outcome.write(outcome_path(folder, number))
    every = [
        Task(
            p.number,
            title,
            single_run(p.overrides, extra, settings.gpus_per_run),
            log_path(folder, p.number),
            outcome_path(folder, p.number),
            run=p.run,
            folder=p.folder,
            processes=settings.gpus_per_run,
        )
        for p, title in zip(planned, titles([p.run for p in planned]), strict=True)
    ]
    tasks = [task for task in every if task.number not in outcomes]
    places = slots_for(settings)
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
    watcher = (LiveTable if sys.stdout.isatty() else Lines)(tasks, sys.stdout)
    pool = Pool(places, watcher, max_failures=settings.max_failures, grace_s=settings.grace_s)
    try:
        outcomes |= pool.run(tasks)
    finally:
        if isinstance(watcher, LiveTable):
            watcher.close()
    ends = Counter(outcomes[p.number].status if p.number in outcomes else "not started" for p in planned)
    print(summary(sweep, dict(ends.most_common())), flush=True)
    if pool.stopped_by is not None or any(
        p.number not in outcomes or outcomes[p.number].status not in GOOD for p in planned
    ):
        print(failure_table(every, outcomes, sweep, run_root), file=sys.stderr, flush=True)
    if pool.stopped_by is not None:
        raise KeyboardInterrupt
    return outcomes
