"""``runs.py watch``: the table of a sweep at work, in any terminal, from the records of its runs alone."""

import sys
import time
from argparse import Namespace
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from isosweep.launchers import tables
from isosweep.launchers.run_states import ALIVE, DONE, Entry, gather

REFRESH_S = 2.0
_LINES_BESIDE_ROWS = 8
"""Of the terminal: heading, counts, and a cause or two."""


def watch(sweep: str, options: Namespace) -> int:
    """Draw the table again and again until no run of the sweep is alive; then once more, to stay.

    Into a file or a pipe it writes a line for each run that changes its state.

    Returns: 0, or 1 if a run ended without being finished.
    """
    if not sys.stdout.isatty():
        return _lines(sweep, options)
    console = Console(highlight=False)
    entries = gather(options.root, sweep).entries
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while any(e.state in ALIVE for e in entries):
            live.update(view(sweep, entries, console.width, console.height), refresh=True)
            time.sleep(REFRESH_S)
            entries = gather(options.root, sweep).entries
    console.print(view(sweep, entries, console.width, sys.maxsize))
    return _code(entries)


def view(sweep: str, entries: Sequence[Entry], width: int, height: int) -> RenderableType:
    """The table and the counts. Where not all rows fit, those at work stay, then those that failed."""
    at_work = [e for e in entries if e.state == "running"]
    waiting = [e for e in entries if e.state in ALIVE and e.state != "running"]
    finished = [e.seconds for e in entries if e.state in DONE and e.seconds]
    left = tables.time_left(at_work, len(waiting), finished) if at_work else ""
    title = f"{sweep}: {tables.counts(entries)}{left}"
    room = max(3, height - _LINES_BESIDE_ROWS)
    shown = list(entries)
    if len(shown) > room:
        order = sorted(
            entries, key=lambda e: (e.state != "running", e.state in (*DONE, *ALIVE), e.state in DONE)
        )
        chosen = {id(e) for e in order[:room]}
        shown = [e for e in entries if id(e) in chosen]
    if not shown:
        return Text(title)
    table = tables.status_table(shown, width, title, [e.run for e in entries])
    rest = len(entries) - len(shown)
    return Group(table, Text(f"... {rest} more")) if rest else table


def _lines(sweep: str, options: Namespace) -> int:
    """A line for each change, without a terminal."""
    before: dict[str, str] = {}
    while True:
        entries = gather(options.root, sweep).entries
        for entry, title in zip(entries, tables.titles_of(entries), strict=True):
            if before.get(title) != entry.state:
                cause = f": {entry.cause}" if entry.cause else ""
                print(f"{entry.state:<9} {title}{cause}", flush=True)
                before[title] = entry.state
        if not any(e.state in ALIVE for e in entries):
            return _code(entries)
        time.sleep(REFRESH_S)


def _code(entries: Sequence[Entry]) -> int:
    return 0 if all(e.state in DONE for e in entries) else 1
