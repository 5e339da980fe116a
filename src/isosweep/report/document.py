"""The printed form of a table: texts of cells, marks, notes, sources. markdown.py, latex.py and html.py render it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from isosweep.report.cells import Cell, Column, Key, MissingCause, Table, keys_text
from isosweep.report.checks import Conflict
from isosweep.report.collect import Collection
from isosweep.report.keys import MISSING_TEXT, short_key, sort_key, value_text
from isosweep.report.metrics import Metric
from isosweep.report.paired import RESAMPLES, Comparison
from isosweep.report.published import PublishedRow
from isosweep.report.ranking import Mark, format_number, rank_marks

MOST_CAUSES = 60


@dataclass(frozen=True)
class CellText:
    """One printed cell: ``main`` is the number, which a mark makes bold or underlined; ``extra`` follows unmarked."""

    main: str
    extra: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Line:
    """One printed row."""

    kind: Literal["ours", "external", "published"]
    labels: tuple[str, ...]
    cells: tuple[CellText, ...]
    reference: int = 0
    """Number of the row's source in ``Document.sources``, from 1; 0 for none."""


@dataclass(frozen=True)
class Block:
    """One printed table of the document."""

    title: str
    labels: tuple[str, ...]
    """Headings of the columns that hold the row keys."""
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass
class Document:
    """Everything that a text format prints: tables, notes, causes of missing numbers, sources of published rows."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Extras:
    """What a document needs beside the table's cells."""

    collection: Collection = field(default_factory=Collection)
    tolerated: Sequence[Conflict] = ()
    comparisons: Sequence[Comparison] = ()
    notes: Sequence[str] = ()
    published: Sequence[PublishedRow] = ()
    rank_published: bool = False
    plain: bool = False
    """Cells without ± and n (--no-spread)."""
    rank_mixed: bool = False
    """Rows of other protocols are ranked with ours (--allow protocol)."""


def compose_document(title: str, table: Table, extras: Extras) -> Document:
    """The printed form of a table.

    A table with several columns becomes one block per metric. A table with one column becomes a single block whose
    columns are the metrics.
    """
    document = Document(title)
    uniform = _uniform_n(table)
    for part in _block_contents(table):
        document.blocks.append(_block(table, part, extras, uniform))
    if extras.comparisons:
        document.blocks.append(_comparison_block(table, extras.comparisons))
    document.sources = [_source(row, table) for row in extras.published]
    document.notes = _notes(table, extras, uniform)
    document.causes = _causes(table)
    return document


Pair = tuple[Column, Metric]


def _block_contents(table: Table) -> list[tuple[str, list[Pair]]]:
    one = len(table.columns) == 1
    if one:
        return [("", [(table.columns[0], m) for m in table.metrics])]
    return [(m.title, [(c, m) for c in table.columns]) for m in table.metrics]


def _block(table: Table, part: tuple[str, list[Pair]], extras: Extras, uniform: int | None) -> Block:
    title, pairs = part
    columns = [_heading(table, column) for column, _ in pairs]
    if not title:
        title, columns = columns[0], [metric.title for _, metric in pairs]
    ranked = {pair: _ranks(table, pair, extras) for pair in pairs}
    lines = [
        Line(
            "external" if row in table.external else "ours",
            tuple(value_text(v) for v in row),
            tuple(
                _cell_text(table.cell(row, *pair), pair[1], ranked[pair][i], uniform, extras.plain)
                for pair in pairs
            ),
        )
        for i, row in enumerate(table.rows)
    ]
    for i, row in enumerate(extras.published):
        figures = [row.cells.get(pair) for pair in pairs]
        if any(figures):
            at = len(table.rows) + i
            cells = [
                CellText(f or MISSING_TEXT, mark=ranked[pair][at] if extras.rank_published else "")
                for f, pair in zip(figures, pairs, strict=True)
            ]
            blank = ("",) * (len(table.spec.rows) - 1)
            lines.append(Line("published", (row.method, *blank), tuple(cells), i + 1))
    labels = tuple(short_key(k, table.spec.rows) for k in table.spec.rows)
    return Block(title, labels, tuple(columns), tuple(lines))


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


def _cell_text(cell: Cell, metric: Metric, mark: Mark, uniform: int | None, plain: bool) -> CellText:
    if cell.mean is None:
        return CellText("failed" if cell.state == "failed" else MISSING_TEXT)
    if plain:
        return CellText(format_number(cell.mean, metric.digits), "", mark)
    extra = [f"± {format_number(cell.std, metric.digits)}"] if cell.std is not None else []
    if uniform is None:
        extra.append(f"({cell.n})")
    return CellText(format_number(cell.mean, metric.digits), " ".join(extra), mark)


def _uniform_n(table: Table) -> int | None:
    counts = {cell.n for cell in table.cells.values() if cell.n}
    return counts.pop() if len(counts) == 1 else None


def _comparison_block(table: Table, comparisons: Iterable[Comparison]) -> Block:
    keys = table.spec.rows
    lines = []
    for c in comparisons:
        digits = c.metric.digits + 1
        interval = (
            "–"
            if c.low is None or c.high is None
            else f"[{format_number(c.low, digits)}, {format_number(c.high, digits)}]"
        )
        cells = (
            keys_text(keys, c.baseline),
            c.metric.title,
            str(c.n),
            "–" if c.mean is None else format_number(c.mean, digits),
            interval,
            f"{c.better} / {c.worse} / {c.ties}",
            "–" if c.p is None else f"{c.p:.3g}",
            ", ".join(c.missing) or "none",
        )
        lines.append(Line("ours", tuple(value_text(v) for v in c.row), tuple(CellText(x) for x in cells)))
    heads = (
        "baseline", "metric", "scenes", "mean difference", "95% interval", "better / worse / tied", "sign test p",
        "scenes without a pair",
    )  # fmt: skip
    return Block(
        "Differences to the baseline, scene by scene",
        tuple(short_key(k, keys) for k in keys),
        heads,
        tuple(lines),
    )


def _source(row: PublishedRow, table: Table) -> str:
    parts = [f"{row.method}: published, {row.source}"]
    if row.setting:
        parts.append(row.setting)
    ours = {p or "not named" for metric in {m for _, m in row.cells} for p in table.protocols[metric]}
    if ours and ours != {row.protocol}:
        parts.append(f"protocol {row.protocol}, not ours ({', '.join(sorted(ours))})")
    else:
        parts.append(f"protocol {row.protocol}")
    return "; ".join(parts) + "."


def _notes(table: Table, extras: Extras, uniform: int | None) -> list[str]:
    scored = [r for r in table.runs if r.scored]
    over = ", ".join(short_key(k, table.spec.over) for k in table.spec.over) or "nothing"
    if uniform == 1:
        spread = "every number is of one run, so there is no spread"
    elif extras.plain:
        counts = sorted({cell.n for cell in table.cells.values() if cell.n})
        spread = f"mean over {over}, n = {', '.join(map(str, counts)) or 0}; the spread is in the csv"
    elif uniform is not None:
        spread = f"mean ± standard deviation (ddof=1) over {over}, n = {uniform}"
    else:
        spread = f"mean ± standard deviation (ddof=1) over {over}, (n); no ± for n = 1"
    notes = [
        f"Protocol {_protocols_text(table)}; {spread}. Best bold, second underlined, compared as printed; – missing."
    ]
    if any(c.mean for c in table.columns):
        means = "; ".join(f"{d or 'mean'}: {n} scenes" for d, n in _mean_sizes(table).items())
        notes.append(
            f"A mean is taken over all scenes of the table ({means}) for each seed, then over the seeds. "
            "It is – if a scene, or one of its seeds, is missing."
        )
    notes += [
        f"Tolerated ({c.kind}), {c.scope}: {c.key} is {', '.join(c.values)}."
        for c in _merge_places(extras.tolerated)
    ]
    codes = sorted({r.code for r in scored if r.code})
    if len(codes) > 1:
        notes.append(f"Cells come from {len(codes)} versions of the numerical code: {', '.join(codes)}.")
    if table.external:
        named = "; ".join(keys_text(table.spec.rows, row) for row in table.rows if row in table.external)
        notes.append(
            f"External: {named}. How they were trained is not in their records and was not compared."
        )
        notes += _other_protocol_notes(table, extras)
    if any(m.cost for m in table.metrics):
        devices = sorted({r.record.device for r in scored if r.record.device}, key=sort_key)
        notes.append(
            "Times and memory (the GPU's where there is one, else the process's) were measured on: "
            f"{', '.join(devices) or 'not named'}."
        )
    if extras.published:
        ranked = "ranked with ours" if extras.rank_published else "not ranked with ours"
        notes.append(f"Published rows are as printed in their sources, {ranked}.")
    if extras.comparisons:
        notes.append(
            f"Differences: row minus baseline; interval: bootstrap over scenes ({RESAMPLES} resamples, seed fixed); "
            "sign test: two-sided, ties left out."
        )
        most = max(c.n for c in extras.comparisons)
        if most < 6:
            notes.append(
                f"Few scenes: with {most} the sign test cannot come below p = {2.0 ** (1 - max(most, 1)):.2g}, and the "
                "interval is rough."
            )
    notes += extras.notes
    if table.replaced:
        notes.append(
            f"{table.replaced} runs without scores are left out: a finished run of the same cell and seed counts."
        )
    if extras.collection.duplicates:
        notes.append(f"{extras.collection.duplicates} records are copies of runs that are counted already.")
    return notes


def _protocols_text(table: Table) -> str:
    """'standard', or 'standard (psnr, ssim), dtu-neus (chamfer)' where scores have different protocols."""
    found: dict[str, list[str]] = {}
    for metric in (m for m in table.metrics if not m.cost):
        protocols = " and ".join(sorted(p or "not named" for p in table.protocols[metric]))
        if protocols:
            found.setdefault(protocols, []).append(metric.requested)
    if len(found) < 2:
        return next(iter(found), "–")
    return ", ".join(f"{protocols} ({', '.join(names)})" for protocols, names in found.items())


def _other_protocol_notes(table: Table, extras: Extras) -> list[str]:
    """A note for each external row that was scored under another protocol than ours."""
    if "protocol" in table.spec.keys:
        return []
    found: dict[tuple[Key, str], list[str]] = {}
    for row in (r for r in table.rows if r in table.external):
        for metric in (m for m in table.metrics if not m.cost):
            cells = [table.cell(row, column, metric) for column in table.columns]
            protocols = {p for c in cells if c.values for p in c.protocols or ("",)}
            if not protocols <= table.protocols[metric]:
                named = ", ".join(sorted(p or "not named" for p in protocols))
                found.setdefault((row, named), []).append(metric.requested)
    how = "ranked with ours (--allow protocol)" if extras.rank_mixed else "not ranked with ours"
    return [
        f"{keys_text(table.spec.rows, row)}: {', '.join(names)} under protocol {protocols}, {how}."
        for (row, protocols), names in found.items()
    ]


def _mean_sizes(table: Table) -> Mapping[str, int]:
    scenes: dict[str, set[str]] = {}
    for _, place in table.atoms:
        scenes.setdefault(place.dataset, set()).add(place.scene)
    return {d: len(s) for d, s in sorted(scenes.items())}


def _merge_places(conflicts: Iterable[Conflict]) -> list[Conflict]:
    """One conflict for each key and its values; its scope says in how many more places it occurs."""
    places: dict[tuple[str, str, tuple[str, ...]], list[Conflict]] = {}
    for c in conflicts:
        places.setdefault((c.kind, c.key, c.values), []).append(c)
    return [
        same[0]
        if len(same) == 1
        else Conflict(same[0].kind, f"{same[0].scope} and {len(same) - 1} more", same[0].key, same[0].values)
        for same in places.values()
    ]


def _causes(table: Table) -> list[str]:
    """One line for each cause. Metrics and columns with the same cause share a line."""
    found: dict[tuple[Key, MissingCause, str], list[Metric]] = {}
    for row in table.rows:
        for column in table.columns:
            for metric in table.metrics:
                for cause in table.cell(row, column, metric).causes:
                    of_scene = column.mean and "scene" in table.spec.cols
                    if of_scene and (cause.why != "no record" or "," not in cause.place):
                        continue  # the scene's own cell names it
                    found.setdefault((row, cause, _column_text(table, column)), []).append(metric)
    together: dict[tuple[Key, MissingCause, tuple[Metric, ...]], list[str]] = {}
    for (row, cause, column_text), metrics in found.items():
        together.setdefault((row, cause, tuple(metrics)), []).append(column_text)
    lines = []
    for (row, cause, metrics), places in together.items():
        which = "" if len(metrics) == len(table.metrics) else f" ({', '.join(m.requested for m in metrics)})"
        columns = "; ".join(p for p in places if p)
        place = ", ".join(x for x in (keys_text(table.spec.rows, row), columns, cause.place) if x)
        lines.append(f"{place}{which}: {cause.why}")
    if len(lines) > MOST_CAUSES:
        lines = [*lines[:MOST_CAUSES], f"and {len(lines) - MOST_CAUSES} more; the csv has each"]
    return lines


def _column_text(table: Table, column: Column) -> str:
    parts = [
        f"{k}={value_text(v)}"
        for k, v in zip(table.spec.cols, column.col, strict=True)
        if not (column.mean and k == "scene")
    ]
    if len(table.datasets) > 1 and column.dataset and "dataset" not in table.spec.cols:
        parts.insert(0, f"dataset={column.dataset}")
    return ", ".join(parts)


def row_label(row: Key) -> str:
    """The row's values, separated by blanks."""
    return " ".join(value_text(v) for v in row)
