"""The blocks of a printed table: which cells stand in which block, their text, their marks and their headings."""

from collections.abc import Iterable, Sequence

from isosweep.report import captions, ledger
from isosweep.report.captions import Pair
from isosweep.report.cells import Cell, Column, Table, keys_text
from isosweep.report.document import Block, CellText, Extras, Line
from isosweep.report.flips import FLIP, flipped_rows
from isosweep.report.keys import MISSING_TEXT, short_key, value_text
from isosweep.report.metrics import Metric
from isosweep.report.paired import Comparison
from isosweep.report.ranking import Mark, format_number, rank_marks


def blocks_of(table: Table, extras: Extras) -> list[Block]:
    """The table's blocks in the order of ``extras.layout``, and the comparisons with a baseline.

    ``scenes``: a block for each metric, whose columns are the table's columns; a table of one column is as in
    ``methods``. ``methods``: one block whose columns are the metrics, for each data set's mean, or for each column
    where the table has no means. ``both``: methods, then scenes.
    """
    means = [c for c in table.columns if c.mean] or table.columns
    alone = [c for c in table.columns if not c.mean and c.dataset not in {m.dataset for m in means}]
    layout = extras.layout if len(table.columns) > 1 else "methods"
    found: list[Block] = []
    if layout in ("methods", "both"):
        found += [_metrics_block(table, column, extras) for column in (*means, *alone)]
    if layout in ("scenes", "both"):
        found += [_scenes_block(table, metric, extras) for metric in table.metrics]
    known = ledger.ledger_block(table, extras)
    found += [known] if known is not None else []
    if extras.comparisons:
        found.append(_comparison_block(table, extras.comparisons))
    return found


def _metrics_block(table: Table, column: Column, extras: Extras) -> Block:
    heads = [m.heading for m in table.metrics]
    heads = [m.title if heads.count(h) > 1 else h for m, h in zip(table.metrics, heads, strict=True)]
    title = captions.column_words(table, column)
    caption = captions.metrics_caption(table, column, table.metrics, extras.plain)
    return _block(table, title, caption, heads, [(column, m) for m in table.metrics], extras)


def _scenes_block(table: Table, metric: Metric, extras: Extras) -> Block:
    heads = [_heading(table, column) for column in table.columns]
    caption = captions.scenes_caption(table, table.columns, metric, extras.plain)
    return _block(table, metric.title, caption, heads, [(c, metric) for c in table.columns], extras)


def _block(
    table: Table, title: str, caption: str, columns: Sequence[str], pairs: Sequence[Pair], extras: Extras
) -> Block:
    uniform = uniform_n(table)
    ranked = {pair: _ranks(table, pair, extras) for pair in pairs}
    turned = {pair: flipped_rows(table, pair) if extras.flips else set() for pair in pairs}
    lines = [
        Line(
            "external" if row in table.external else "ours",
            tuple(value_text(v) for v in row),
            tuple(
                _cell_text(
                    table.cell(row, *pair),
                    pair[1],
                    ranked[pair][i],
                    uniform,
                    extras.plain,
                    row in turned[pair],
                )
                for pair in pairs
            ),
        )
        for i, row in enumerate(table.rows)
    ]
    numbers = ledger.numbers_of(extras.published)
    for i, row in enumerate(extras.published, len(table.rows)):
        figures = row.cells
        if any(pair in figures for pair in pairs):
            cells = [
                CellText(
                    figures.get(pair, MISSING_TEXT),
                    "" if extras.plain else ledger.span_text(row, pair, table),
                    ranked[pair][i] if extras.rank_published else "",
                )
                for pair in pairs
            ]
            blank = ("",) * (len(table.spec.rows) - 1)
            first = next(one.line for one in row.found if any(pair in one.cells for pair in pairs))
            lines.append(Line("published", (row.method, *blank), tuple(cells), numbers[first]))
    labels = tuple(short_key(k, table.spec.rows) for k in table.spec.rows)
    if any(c.mark for line in lines for c in line.cells):
        caption += " Best in bold, second underlined."
    return Block(title, labels, tuple(columns), tuple(lines), caption)


def _ranks(table: Table, pair: Pair, extras: Extras) -> list[Mark]:
    """The mark of each row, then of each published row. A row of another protocol than ours has none."""
    cells = [table.cell(row, *pair) for row in table.rows]
    figures = [row.cells.get(pair) for row in extras.published] if extras.rank_published else []
    printed = [float(f) if f else None for f in figures]
    if extras.rank_mixed:
        return rank_marks([*(c.mean for c in cells), *printed], pair[1])
    if "protocol" in table.spec.rows:  # the rows of each protocol are ranked among themselves
        at = table.spec.rows.index("protocol")
        found: list[Mark] = [""] * (len(cells) + len(printed))
        for protocol in {row[at] for row in table.rows}:
            own = [c.mean if row[at] == protocol else None for row, c in zip(table.rows, cells, strict=True)]
            found[: len(cells)] = [a or b for a, b in zip(found, rank_marks(own, pair[1]), strict=False)]
        return found
    good = table.protocols[pair[1]]
    return rank_marks(
        [*(c.mean if good.issuperset(c.protocols or ("",)) else None for c in cells), *printed], pair[1]
    )


def _heading(table: Table, column: Column) -> str:
    parts = [
        value_text(v)
        for k, v in zip(table.spec.cols, column.col, strict=True)
        if not (column.mean and k == "scene")
    ]
    if "scene" in table.spec.cols and column.mean:
        parts.append("mean")
    many = len({c.dataset for c in table.columns}) > 1 and "dataset" not in table.spec.cols
    if (many or not parts) and column.dataset:
        parts.insert(0, column.dataset)
    if not parts:
        parts = ["mean over scenes" if column.mean else "all"]
    return "/".join(parts)


def _cell_text(
    cell: Cell, metric: Metric, mark: Mark, uniform: int | None, plain: bool, turned: bool
) -> CellText:
    if cell.mean is None:
        return CellText(MISSING_TEXT if cell.state == "missing" else cell.state)
    extra = [f"± {format_number(cell.std, metric.digits)}"] if cell.std is not None and not plain else []
    if uniform is None and not plain:
        extra.append(f"({cell.n})")
    if turned:
        extra.append(FLIP)
    main = format_number(cell.mean, metric.digits)
    return CellText(main, " ".join(extra), mark, cell.mean, cell.std, cell.n, metric.digits)


def uniform_n(table: Table) -> int | None:
    """The number of values of every cell that has any; None if they differ."""
    counts = {cell.n for cell in table.cells.values() if cell.n}
    return counts.pop() if len(counts) == 1 else None


def _comparison_block(table: Table, comparisons: Iterable[Comparison]) -> Block:
    keys = table.spec.rows
    over = "seed" if table.spec.over == ("seed",) else "run"
    lines = []
    for c in comparisons:
        digits = c.metric.digits + 1
        interval = (
            "–"
            if c.low is None or c.high is None
            else f"[{format_number(c.low, digits)}, {format_number(c.high, digits)}]"
        )
        counts = sorted(set(c.seeds.values()))
        cells = (
            keys_text(keys, c.baseline),
            c.metric.title,
            str(c.n),
            "–" if not counts else str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}",
            "–" if c.mean is None else format_number(c.mean, digits),
            interval,
            f"{c.better} / {c.worse} / {c.ties}",
            "–" if c.p is None else f"{c.p:.3g}",
            ", ".join(c.missing) or "none",
        )
        lines.append(Line("ours", tuple(value_text(v) for v in c.row), tuple(CellText(x) for x in cells)))
    heads = (
        "baseline", "metric", "scenes", f"common {over}s", "mean difference", "95% interval", "better / worse / tied",
        "sign test p", "scenes without a pair",
    )  # fmt: skip
    return Block(
        "Differences to the baseline, scene by scene",
        tuple(short_key(k, keys) for k in keys),
        heads,
        tuple(lines),
        f"Each difference is the mean over the {over}s of a scene that both rows have, and then over scenes. "
        "Interval: 95%, bootstrap over scenes.",
    )
