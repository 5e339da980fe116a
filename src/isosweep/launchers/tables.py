"""Tables of runs, of plans, and of a sweep at work, as wide as the terminal."""

import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from isosweep.launchers.columns import GAP, KEY_DIGITS, Column, Run, common, fitted, identity, titles
from isosweep.launchers.estimates import human, left_of_sweep
from isosweep.launchers.run_states import Entry
from isosweep.runtime.text import printable

if TYPE_CHECKING:
    from isosweep.launchers.planning import (
        Planned,  # composes configs, which a table of records does not need
    )

COLORS = {
    "finished": "green", "running": "cyan", "pending": "blue", "waiting": "blue", "failed": "red", "oom": "red",
    "lost": "red", "preempted": "yellow", "timeout": "yellow", "cancelled": "yellow", "interrupted": "yellow",
    "deleted": "yellow", "error": "red",
}  # fmt: skip
FEW = 100
"""Rows that a person reads; of more, only those that need attention are shown (--all shows them all)."""
IN_A_FILE = 220
"""Width of a table that is written into a file or a pipe."""
_BAR = 8


def show(table: RenderableType) -> None:
    """Print a table, in colours in a terminal."""
    Console(width=width(), no_color=None if sys.stdout.isatty() else True).print(table)


def width() -> int:
    """Of the terminal; fixed for a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else IN_A_FILE


def counts(entries: Iterable[Entry]) -> str:
    """'12 runs: 9 finished, 2 failed, 1 running'."""
    found = Counter(e.state for e in entries)
    parts = ", ".join(f"{n} {state}" for state, n in found.most_common())
    return f"{found.total()} runs" + (f": {parts}" if parts else "")


def status_table(
    entries: Sequence[Entry], room: int, title: str | None = None, among: Sequence[Run] | None = None
) -> RenderableType:
    """Runs by their records; of those at work, how far they are. Causes stand below where no column has room.

    Args:
        among: all runs of the sweep or list, if only some of them are shown.
    """
    runs = [e.run for e in entries]
    columns = [
        *identity(runs, among),
        Column("state", [e.state for e in entries]),
        Column("progress", [_progress(e) for e in entries], rank=2),
        Column("step", [e.step for e in entries], rank=3, right=True),
        Column("rays/s", [_rays(e) for e in entries], rank=5, right=True),
        Column("val PSNR", [_validation(e) for e in entries], rank=4, right=True),
        Column("score", [e.score for e in entries], rank=1),
        Column("ETA", [_left(e) for e in entries], rank=2, right=True),
        Column("time", [human(e.seconds) if e.seconds else "" for e in entries], rank=4, right=True),
        Column("where", [e.machine for e in entries], rank=7),
        Column("why", [e.cause for e in entries], rank=6, least=32, wrapped=True),
        Column("key", [(e.key or "")[:KEY_DIGITS] for e in entries], rank=8),
        Column("folder", [str(e.folder or "") for e in entries], rank=9),
    ]
    causes = {line: e.cause for line, e in zip(titles(runs, among), entries, strict=True) if e.cause}
    return drawn(columns, runs, room, title, causes, among)


def time_left(at_work: Sequence[Entry], waiting: int, finished_s: Sequence[float]) -> str:
    """', about 12 min left' of a sweep; '' while nothing tells.

    Args:
        waiting: runs that have not started.
        finished_s: seconds of the runs that are finished.
    """
    past_left = [(e.seconds, e.note.left_s if e.note is not None else None) for e in at_work]
    left = left_of_sweep(past_left, waiting, finished_s)
    return "" if left is None else f", about {human(left)} left"


def titles_of(entries: Sequence[Entry]) -> list[str]:
    """Each run in one line, by what tells it from the others."""
    return titles([e.run for e in entries])


def plan_table(planned: Sequence["Planned"], seconds: dict[int, float], room: int) -> RenderableType:
    """The jobs of a sweep, and what would be done with each."""
    runs = [p.run for p in planned]
    columns = [
        Column("#", [str(p.number + 1) for p in planned], right=True),
        *identity(runs),
        Column("todo", [p.todo for p in planned]),
        Column(
            "estimate", [human(seconds[p.number]) if p.number in seconds else "" for p in planned], rank=2
        ),
        Column("why", [p.reason for p in planned], rank=1, least=24, wrapped=True),
        Column("key", [(p.key or "")[:KEY_DIGITS] for p in planned], rank=8),
        Column("folder", [str(p.folder or "") for p in planned], rank=9),
    ]
    return drawn(columns, runs, room)


def drawn(
    columns: Sequence[Column],
    runs: Sequence[Run],
    room: int,
    title: str | None = None,
    causes: Mapping[str, str] | None = None,
    among: Sequence[Run] | None = None,
) -> RenderableType:
    """A table of the columns that fit; above it what all runs share.

    Args:
        causes: a run in words -> why it ended. They stand below the table if the column 'why' is not shown.
    """
    every = runs if among is None else among
    shared = common(every) if len(every) > 1 else ""
    heading = "\n".join(line for line in (title, f"all: {shared}" if shared else "") if line)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    found = fitted(columns, runs, room)
    for column, wide in found:
        table.add_column(
            Text(printable(column.heading, keep="\n")),
            width=wide,
            no_wrap=not column.wrapped,
            overflow="fold" if column.wrapped else "ellipsis",
            justify="right" if column.right else "left",
        )
    for row in range(len(runs)):
        table.add_row(*(Text(printable(c.cells[row]), style=_style(c.name, c.cells[row])) for c, _ in found))
    above = [Text(printable(heading, keep="\n"))] if heading else []
    told = any(column.name == "why" for column, _ in found)
    below = [] if told or not causes else [_indented(f"{run}: {cause}") for run, cause in causes.items()]
    return Group(*above, table, *below)


def _indented(text: str) -> Padding:
    return Padding(Text(printable(text)), (0, 0, 0, 2))


def _style(column: str, cell: str) -> str:
    if column in ("state", "todo"):
        return COLORS.get(cell, "")
    return "cyan" if column == "progress" else ""


def _progress(entry: Entry) -> str:
    """A bar for training; in words what is done afterwards, and how far that is."""
    note = entry.note
    if note is None:
        return ""
    share = note.done / note.total if note.total else 0.0
    if note.what != "training":
        return f"{note.what} {share:.0%}" if note.total else note.what
    full = round(share * _BAR)
    return f"{'━' * full}{'─' * (_BAR - full)} {share:4.0%}"


def _rays(entry: Entry) -> str:
    rate = entry.note.rays_per_s if entry.note is not None else None
    return "" if rate is None else f"{rate / 1e3:.1f}k"


def _validation(entry: Entry) -> str:
    psnr = entry.note.val_psnr if entry.note is not None else None
    return "" if psnr is None else f"{psnr:.2f}"


def _left(entry: Entry) -> str:
    left = entry.note.left_s if entry.note is not None else None
    return "" if left is None else human(left)
