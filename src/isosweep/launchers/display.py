"""Progress of a running sweep: a live table in a terminal, plain lines in a log file."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TextIO

from rich.console import Console
from rich.live import Live

from isosweep.launchers import tables
from isosweep.launchers.columns import Run
from isosweep.launchers.next_commands import runs_command
from isosweep.launchers.pool import Started, Task
from isosweep.launchers.run_states import Entry, cause_of, entry_at
from isosweep.record.outcome import GOOD, JobOutcome

REFRESH_S = 1.0


class Lines:
    """Prints one line for each start and each end of a run."""

    def __init__(self, tasks: Sequence[Task], stream: TextIO) -> None:
        self.total, self.stream, self.ended_count = len(tasks), stream, 0

    def started(self, one: Started) -> None:
        self.say(f"start     {one.task.title}  ({one.slot}, pid {one.process.pid}, log {one.task.log})")

    def ended(self, task: Task, outcome: JobOutcome, seconds: float) -> None:
        self.ended_count += 1
        self.say(f"[{self.ended_count}/{self.total}] {describe(task, outcome, seconds)}")

    def tick(self, running: Sequence[Started], waiting: int) -> None:
        return

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class LiveTable(Lines):
    """A table of the runs at work, drawn again every second. Ends are printed above it."""

    def __init__(self, tasks: Sequence[Task], stream: TextIO) -> None:
        super().__init__(tasks, stream)
        self._runs = [task.run for task in tasks if task.run is not None]
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._drawn = 0.0
        self._seconds: list[float] = []
        self._live.start()

    def started(self, one: Started) -> None:
        self._drawn = 0.0

    def ended(self, task: Task, outcome: JobOutcome, seconds: float) -> None:
        self._seconds += [seconds] if outcome.status == "finished" else []
        super().ended(task, outcome, seconds)

    def tick(self, running: Sequence[Started], waiting: int) -> None:
        now = time.monotonic()
        if now - self._drawn < REFRESH_S:
            return
        self._drawn = now
        entries = [at_work(one) for one in running]
        title = f"{self.ended_count} of {self.total} ended, {len(running)} running, {waiting} waiting"
        title += tables.time_left(entries, waiting, self._seconds)
        table = tables.status_table(entries, self._console.width, title, self._runs)
        self._live.update(table, refresh=True)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._live.stop()


def at_work(one: Started) -> Entry:
    """A run of this launch by its record, in its slot; by its process where it has no record yet."""
    run = one.task.run or Run({})
    entry = None if one.task.folder is None else entry_at(one.task.folder)
    if entry is None or entry.state != "running":
        entry = Entry("running", one.task.title, seconds=time.monotonic() - one.since)
    return replace(
        entry,
        names=run.names,
        overrides=tuple(run.overrides),
        key=run.key,
        machine=str(one.slot),
        folder=None,
    )


def describe(task: Task, outcome: JobOutcome, seconds: float) -> str:
    """How a run ended, in one line."""
    head = f"{outcome.status:<9} {task.title}"
    if outcome.status in GOOD:
        value = f", validation PSNR {outcome.value:.2f} dB" if outcome.value is not None else ""
        return f"{head}  ({seconds:.0f} s{value})"
    return f"{head}  ({seconds:.0f} s): {cause_of(outcome)}"


def summary(sweep: str, counts: Mapping[str, int]) -> str:
    """The last line of a sweep: 'sweep night: 8 runs: 6 finished, 2 failed'."""
    parts = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    return f"sweep {sweep}: {sum(counts.values())} runs: {parts}"


def failure_table(tasks: Sequence[Task], outcomes: dict[int, JobOutcome], sweep: str, run_root: str) -> str:
    """The runs that did not end well, each with its cause and its log, and how to start them again."""
    bad = [
        (t, outcomes[t.number])
        for t in tasks
        if t.number in outcomes and outcomes[t.number].status not in GOOD
    ]
    never = [t for t in tasks if t.number not in outcomes]
    lines = [f"{len(bad)} of {len(tasks)} runs did not finish:"] if bad else []
    for task, outcome in bad:
        lines.append(
            f"  {outcome.status:<9} {task.title}\n            {cause_of(outcome)}\n            {task.log}"
        )
    if never:
        lines.append(f"{len(never)} runs were not started")
    lines.append(f"start just those again: {runs_command('retry', sweep, run_root)}")
    return "\n".join(lines)
