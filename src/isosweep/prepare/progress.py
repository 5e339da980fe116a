"""Progress bars on a terminal. Without a terminal nothing is drawn, and the log lines report the progress."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Bar:
    """The progress of one stage; without a terminal its methods do nothing."""

    def __init__(self, bars: Any, ident: Any) -> None:
        self._bars, self._ident = bars, ident

    def tick(self, n: int = 1) -> None:
        """Count ``n`` more items as done."""
        if self._bars is not None:
            self._bars.advance(self._ident, n)

    def set_done(self, n: int) -> None:
        """Set the number of items done, which may go back when an attempt starts again."""
        if self._bars is not None:
            self._bars.update(self._ident, completed=n)

    def set_total(self, n: int) -> None:
        """Set the number of items; 0 stands for an unknown number."""
        if self._bars is not None:
            self._bars.update(self._ident, total=n or None)


class Progress:
    """Draws one bar for each stage on stderr, if stderr is a terminal and ``shown`` is true."""

    def __init__(self, shown: bool = True) -> None:
        self.shown = shown and sys.stderr.isatty()

    @contextmanager
    def bar(self, name: str, total: int | None) -> Iterator[Bar]:
        """A bar that disappears at the end of the block; ``total`` is None for an unknown number of items."""
        if not self.shown:
            yield Bar(None, None)
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
            yield Bar(bars, bars.add_task(name, total=total))
