"""Tables of runs and of plans for a terminal."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from isosweep.launchers.estimates import human
from isosweep.launchers.run_states import Entry

if TYPE_CHECKING:
    from isosweep.launchers.planning import (
        Planned,  # composes configs, which a table of records does not need
    )

COLORS = {
    "finished": "green", "running": "cyan", "pending": "blue", "waiting": "blue", "failed": "red", "oom": "red",
    "lost": "red", "preempted": "yellow", "timeout": "yellow", "cancelled": "yellow", "error": "red",
}  # fmt: skip
FEW = 100
"""Rows that a person reads; of more, only those that need attention are shown (--all shows them all)."""


def show(table: Table) -> None:
    """Print in the terminal's width, in colours there; the full width into a file or a pipe."""
    console = Console() if sys.stdout.isatty() else Console(width=220, no_color=True)
    console.print(table)


def counts(entries: Iterable[Entry]) -> str:
    """'12 runs: 9 finished, 2 failed, 1 running'."""
    found = Counter(e.state for e in entries)
    parts = ", ".join(f"{n} {state}" for state, n in found.most_common())
    return f"{found.total()} runs" + (f": {parts}" if parts else "")


_SHOWN_IN_TITLE = ("scene", "seed", "dataset", "model", "encoding", "run.root", "run.name", "hydra")


def varied(entries: Sequence[Entry]) -> list[str]:
    """What each run sets that not all of them set, and its title does not say."""
    common = set.intersection(*(set(e.overrides) for e in entries)) if len(entries) > 1 else set()
    return [
        " ".join(o for o in e.overrides if o not in common and not o.lstrip("+").startswith(_SHOWN_IN_TITLE))
        for e in entries
    ]


def status_table(entries: Sequence[Entry]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("state", "run", "set", "key", "step", "score", "time", "machine", "why"):
        table.add_column(name, overflow="fold" if name in ("run", "set", "why") else "ellipsis")
    for e, own in zip(entries, varied(entries), strict=True):
        table.add_row(
            f"[{COLORS.get(e.state, 'white')}]{e.state}[/]",
            _escaped(e.title),
            _escaped(own if own != e.title else ""),
            (e.key or "")[:8],
            e.step,
            _escaped(e.score),
            human(e.seconds) if e.seconds else "",
            _escaped(e.machine),
            _escaped(e.cause),
        )
    return table


def plan_table(planned: Sequence["Planned"], seconds: dict[int, float]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("#", "todo", "run", "key", "estimate", "why", "overrides", "folder"):
        table.add_column(name, overflow="fold")
    for p in planned:
        table.add_row(
            str(p.number + 1),
            f"[{COLORS.get(p.todo, 'white')}]{p.todo}[/]",
            _escaped(f"{p.dataset}/{p.scene} {p.label} s{p.seed}" if p.key else ""),
            (p.key or "")[:8],
            human(seconds[p.number]) if p.number in seconds else "",
            _escaped(p.reason),
            _escaped(" ".join(o for o in p.overrides if not o.startswith("run.name="))),
            _escaped(str(p.folder or "")),
        )
    return table


def _escaped(text: str) -> str:
    """Text that rich prints as it is: brackets are not read as markup."""
    return text.replace("[", r"\[")
