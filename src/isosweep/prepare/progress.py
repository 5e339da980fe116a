"""A progress bar a step on a terminal; nothing elsewhere, where the log's lines tell enough."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Task:
    """One bar."""

    def __init__(self, bars: Any, ident: Any) -> None:
        self._bars, self._ident = bars, ident

    def tick(self, n: int = 1) -> None:
        if self._bars is not None:
            self._bars.advance(self._ident, n)

    def reach(self, n: int) -> None:
        """Set, rather than add: an attempt that starts again goes back."""
        if self._bars is not None:
            self._bars.update(self._ident, completed=n)

    def total(self, n: int) -> None:
        if self._bars is not None:
            self._bars.update(self._ident, total=n or None)


class Progress:
    """Bars on stderr where it is a terminal and ``shown``."""

    def __init__(self, shown: bool = True) -> None:
        self.shown = shown and sys.stderr.isatty()

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        if not self.shown:
            yield Task(None, None)
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            yield Task(bars, bars.add_task(name, total=total))
