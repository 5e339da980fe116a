"""The reproduction ledger: every figure that was found for a published method, and ours beside it."""

from collections.abc import Sequence

from isosweep.report.captions import Pair
from isosweep.report.cells import Column, Key, Table
from isosweep.report.document import Block, CellText, Extras, Line
from isosweep.report.keys import MISSING_TEXT, value_text
from isosweep.report.metrics import Metric
from isosweep.report.published import ORIGINS, Published, PublishedRow
from isosweep.report.ranking import format_number

TITLE = "Reproduction ledger"
MOST_SCENES = 6
"""Scenes of one method in the ledger, where no mean over scenes has several figures."""
NARROW = 4
"""Tables of more columns show how far figures are apart in their mean columns alone."""


def numbers_of(rows: Sequence[PublishedRow]) -> dict[Published, int]:
    """The number of every source, from 1, in the order in which they stand below the table."""
    every = [one.line for row in rows for one in row.found]
    return {line: i for i, line in enumerate(every, 1)}


def span_text(row: PublishedRow, pair: Pair, table: Table) -> str:
    """'(0.74 to 0.80)': the smallest and the largest figure of a cell; '' if there is one figure, or no room."""
    figures = {f: float(f) for f, _ in row.strip(pair)}
    if len(figures) < 2 or not (pair[0].mean or len(table.columns) <= NARROW):
        return ""
    return f"({min(figures, key=lambda f: figures[f])} to {max(figures, key=lambda f: figures[f])})"


def chosen_pairs(row: PublishedRow, metric: Metric, table: Table, least: int = 2) -> list[Pair]:
    """The columns of a metric of which at least ``least`` sources have figures: the means, or else some scenes."""
    found = [(c, metric) for c in table.columns if len(row.strip((c, metric))) >= least]
    return [p for p in found if p[0].mean] or found[:MOST_SCENES]


def ledger_block(table: Table, extras: Extras) -> Block | None:
    """A line for each published method and column that several sources have figures of; None without such a line."""
    numbers = numbers_of(extras.published)
    lines = []
    for row in extras.published:
        for metric in table.metrics:
            for pair in chosen_pairs(row, metric, table):
                strip = row.strip(pair)
                cells = [
                    " · ".join(f"{f} [{numbers[line]}]" for f, line in strip if line.origin == origin)
                    for origin in ORIGINS
                ]
                texts = [*(c or MISSING_TEXT for c in cells), _ours(table, row.method, pair)]
                where = f"{metric.heading}, {place_text(table, pair[0])}"
                lines.append(
                    Line(
                        "published",
                        (row.method, where),
                        tuple(CellText(t) for t in texts),
                        numbers[strip[0][1]],
                    )
                )
    if not lines:
        return None
    caption = (
        "Every figure that was found for a published method, with the number of its source, and ours under the same "
        "name, or else our best. None is averaged with another."
    )
    return Block(
        TITLE, ("method", "score"),
        ("paper", "authors' later runs", "independent runs", "ours"), tuple(lines), caption,
    )  # fmt: skip


def place_text(table: Table, column: Column) -> str:
    """'mean', or the scene; with the data set where the table has several."""
    scene = "mean" if column.mean else ", ".join(value_text(v) for v in column.col)
    return f"{column.dataset} {scene}" if len(table.datasets) > 1 else scene


def _ours(table: Table, method: str, pair: Pair) -> str:
    found = [
        f"{format_number(mean, pair[1].digits)} {' '.join(value_text(v) for v in row)}"
        for row, mean in our_rows(table, method, pair)
    ]
    return " · ".join(found) or MISSING_TEXT


def our_rows(table: Table, method: str, pair: Pair) -> list[tuple[Key, float]]:
    """Our means in the rows that are called as the method, three at most; where there are none, the best row's."""
    means = {
        row: m
        for row in table.rows
        if row not in table.external and (m := table.cell(row, *pair).mean) is not None
    }
    if not means:
        return []
    named = [row for row in means if _plain(method) in {_plain(value_text(v)) for v in row}]
    best = max if pair[1].direction == "up" else min
    return [(row, means[row]) for row in (named or [best(means, key=lambda r: means[r])])[:3]]


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
