"""Draws a document in a terminal: best bold and green, second underlined, published rows in italics.

A table wider than the terminal is drawn in parts below each other; each repeats the names of its rows.
"""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from isosweep.report.document import Block, CellText, Document, Line
from isosweep.runtime.text import printable

STYLES = {"best": "bold green", "second": "underline"}
GAP = 2
"""Blanks between two columns: padding, and one that rich puts between columns of this box."""


def draw(document: Document, console: Console) -> None:
    """Print the document: title, blocks with their captions, notes, sources, causes."""
    console.print(_text(document.title, "bold"))
    for block in document.blocks:
        console.print()
        if block.title:
            console.print(_text(block.title, "bold cyan"))
        for i, part in enumerate(parts_of(block, console.width)):
            if i:
                console.print()
            console.print(_table(block, part))
        if block.caption:
            console.print(_text(block.caption))
    console.print()
    for note in document.notes:
        console.print(_text(note, "dim"))
    for i, source in enumerate(document.sources, 1):
        console.print(_text(f"[{i}] {source}", "dim"))
    if document.causes:
        console.print(_text("Missing and failed", "bold"))
        for cause in document.causes:
            console.print(Padding(_text(f"• {cause}"), (0, 0, 0, 1)))


def parts_of(block: Block, width: int) -> list[list[int]]:
    """The columns of each part of a block, so that no part is wider than ``width`` characters if that is possible."""
    names = sum(
        max(cell_len(x) for x in (label, *(_labels(line)[i] for line in block.lines))) + GAP
        for i, label in enumerate(block.labels)
    )
    parts: list[list[int]] = [[]]
    used = names
    for i, head in enumerate(block.columns):
        own = max(cell_len(x) for x in (head, *(_plain(line.cells[i]) for line in block.lines))) + GAP
        if parts[-1] and used + own > width:
            parts.append([])
            used = names
        parts[-1].append(i)
        used += own
    return parts


def _table(block: Block, columns: Sequence[int]) -> Table:
    table = Table(
        box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), header_style="bold"
    )
    for label in block.labels:
        table.add_column(_text(label), overflow="fold")
    for i in columns:
        table.add_column(_text(block.columns[i]), justify="right", overflow="fold")
    before = ""
    for line in block.lines:
        if line.kind == "published" and before not in ("", "published"):
            table.add_section()
        before = line.kind
        cells = [_cell(line.cells[i], line.kind == "published") for i in columns]
        names = [_text(x, "italic" if line.kind == "published" else "") for x in _labels(line)]
        table.add_row(*names, *cells)
    return table


def _labels(line: Line) -> list[str]:
    first, *rest = line.labels
    note = {"external": " (external)", "published": f" [{line.reference}]", "ours": ""}[line.kind]
    return [first + note, *rest]


def _plain(cell: CellText) -> str:
    return f"{cell.main} {cell.extra}".strip()


def _cell(cell: CellText, published: bool) -> Text:
    usual = "red" if cell.main == "failed" else "italic" if published else ""
    extra = [(printable(f" {cell.extra}"), "dim")] if cell.extra else []
    return Text.assemble((printable(cell.main), STYLES.get(cell.mark, usual)), *extra)


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)
