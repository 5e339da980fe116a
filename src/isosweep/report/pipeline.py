"""Makes a table from a request, step by step: collect, choose keys, check, compute cells, compare, render."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isosweep.record.schema import RECORD_FILE
from isosweep.report import html, latex, markdown
from isosweep.report.cells import Table, TableSpec, build_table, group_runs
from isosweep.report.checks import (
    ALLOW_WORD,
    GEOMETRY_CONFIG,
    find_conflicts,
    refusal_message,
    split_allowed,
)
from isosweep.report.collect import Collection, Run, collect, select_runs
from isosweep.report.compose import compose_document
from isosweep.report.decisions import decision_notes
from isosweep.report.default_keys import default_rows
from isosweep.report.difference_notes import difference_notes
from isosweep.report.document import Document, Extras, Layout
from isosweep.report.key_names import full_conditions, full_keys, has_key, known_keys, unique_ending
from isosweep.report.keys import OTHER_KEYS, RECORD_FIELDS, ReportError, suggestion, value_text
from isosweep.report.long_form import cell_lines, comparison_lines, to_csv, to_parquet
from isosweep.report.metrics import COSTS, Metric, choose_metrics
from isosweep.report.paired import Comparison, compare_rows
from isosweep.report.published import published_rows, read_published
from isosweep.report.spreadsheet import to_xlsx
from isosweep.runtime.text import printable

FORMATS = ("md", "tex", "csv", "html", "parquet", "xlsx")
PROTOCOL_METRICS = ("chamfer", "accuracy", "completeness", "coverage")
Pairs = tuple[tuple[str, str], ...]
"""KEY=VALUE options of the command line."""


class NoRuns(ReportError):
    """No run was found, so there is no table."""


class Refused(ReportError):
    """The numbers are not comparable, so there is no table."""


@dataclass(frozen=True)
class TableRequest:
    """The options of one table; each field is the option of scripts/report.py with the same name.

    ``conditions`` are those of --where, ``plain`` is --no-spread, and ``published`` is None for --no-published. Rows
    that are None are chosen by default_keys.py.
    """

    sources: tuple[str, ...]
    root: Path = Path("results/runs")
    rows: tuple[str, ...] | None = None
    cols: tuple[str, ...] | None = None
    over: tuple[str, ...] | None = None
    """None means the seed, unless it is a row or a column."""
    metrics: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    conditions: Pairs = ()
    against: Pairs = ()
    allow: tuple[str, ...] = ()
    published: Path | None = None
    rank_published: bool = False
    digits: dict[str, int] = field(default_factory=dict)
    title: str | None = None
    plain: bool = False
    layout: Layout = "scenes"
    protocols: bool = False
    """Rows are every protocol with every method (--protocols)."""


@dataclass(frozen=True)
class MadeTable:
    """A table with what is printed around it, and its printed form."""

    table: Table
    extras: Extras
    document: Document

    @property
    def comparisons(self) -> Sequence[Comparison]:
        """The comparisons with the baseline rows of --against."""
        return self.extras.comparisons


def make_table(request: TableRequest) -> MadeTable:
    """Make the table that a request describes.

    Raises:
        NoRuns: no record was found, or none meets the conditions.
        Refused: the numbers are not comparable.
        ReportError: a key, score or source does not exist.
    """
    found = collect(request.sources, request.root)
    runs = select_runs(found.runs, full_conditions(request.conditions, found.runs))
    if not runs:
        raise NoRuns(_no_runs_message(request, found))
    rows, cols, over = (
        None if keys is None else full_keys(keys, runs, option)
        for option, keys in (("--rows", request.rows), ("--cols", request.cols), ("--over", request.over))
    )
    if request.protocols:
        cols = cols or ()
        rows = ("protocol", *(rows or default_rows(runs, cols, over or ("seed",))))
    spec = _spec(rows, cols, over, runs)
    unknown = [c for c in request.columns if c not in COSTS]
    if unknown:
        raise ReportError(f"--columns {','.join(unknown)}: there are {', '.join(COSTS)}")
    metrics = request.metrics or (PROTOCOL_METRICS if request.protocols else ())
    chosen = choose_metrics(metrics, runs, request.digits)
    columns = [c for c in request.columns if c not in request.metrics]
    chosen += choose_metrics(columns, runs, request.digits) if columns else []
    allow = _allowed_words(request.allow, runs, [metric for metric, _ in chosen])
    atoms = group_runs(runs, spec)
    refused, tolerated = split_allowed(find_conflicts(atoms, spec, chosen), allow)
    if refused:
        raise Refused(refusal_message(refused))
    table = build_table(runs, spec, [metric for metric, _ in chosen])
    notes = decision_notes(request.sources, request.root) + difference_notes(atoms, spec)
    comparisons: list[Comparison] = []
    if request.against:
        comparisons, unpaired = compare_rows(table, request.against, "protocol" in request.allow)
        notes += [f"Not compared: {note}." for note in unpaired]
    printed, why = (
        published_rows(table, read_published(request.published))
        if request.published is not None
        else ([], "")
    )
    notes += [f"No published rows: {why}."] if why else []
    notes += [
        f"Planned, without a record: {title}: {cause}." for title, cause in list(found.absent.items())[:40]
    ]
    if found.broken:
        named = ", ".join(printable("/".join(Path(p).parts[-4:])) for p in list(found.broken)[:10])
        more = f" and {len(found.broken) - 10} more" if len(found.broken) > 10 else ""
        notes.append(f"Left out because they cannot be read as records: {named}{more}.")
    extras = Extras(
        found,
        tolerated,
        comparisons,
        notes,
        printed,
        rank_published=request.rank_published,
        layout=request.layout,
        plain=request.plain,
        flips=request.protocols,
        rank_mixed="protocol" in request.allow,
    )
    title = request.title or ", ".join(source_name(s) for s in request.sources)
    return MadeTable(table, extras, compose_document(title, table, extras, request.title or ""))


def source_name(source: str) -> str:
    """The name of a source in titles and file names: the folder's own name, also for '.' and '..'."""
    path = Path(source)
    if path.name == RECORD_FILE:
        path = path.parent
    return (path.resolve() if path.is_dir() else path).name or "records"


def render_files(made: MadeTable, formats: Sequence[str]) -> dict[str, bytes]:
    """Render the table. Returns the ending of each file's name with the file's bytes.

    csv and parquet put comparisons with a baseline into a second file, '-against.csv' or '-against.parquet'; xlsx has
    sheets for both.
    """
    texts: dict[str, Callable[[Document], str]] = {
        "md": markdown.render,
        "tex": latex.render,
        "html": html.render,
    }
    parts: dict[str, bytes] = {}
    for one in formats:
        if one in texts:
            parts[f".{one}"] = _bytes(texts[one](made.document))
            continue
        named = {"": cell_lines(made.table, made.extras)}
        if made.comparisons:
            named["-against"] = comparison_lines(made.table, made.comparisons)
        if one == "xlsx":
            parts[".xlsx"] = to_xlsx(made.document, {f"cells{k}": lines for k, lines in named.items()})
            continue
        for suffix, lines in named.items():
            parts[f"{suffix}.{one}"] = _bytes(to_csv(lines)) if one == "csv" else to_parquet(lines)
    return parts


def _bytes(text: str) -> bytes:
    """The text as UTF-8. What stands for a byte of a file name that is no UTF-8 is written as its escape."""
    return text.encode(errors="backslashreplace")


def _spec(
    rows: tuple[str, ...] | None,
    cols: tuple[str, ...] | None,
    over: tuple[str, ...] | None,
    runs: Sequence[Run],
) -> TableSpec:
    """The keys of rows, columns and means; None are the defaults."""
    if over is None:
        over = () if "seed" in (*(rows or ()), *(cols or ())) else ("seed",)
    if cols is None:
        cols = () if "scene" in (*(rows or ()), *over) else ("scene",)
    if rows is None:
        rows = default_rows(runs, cols, over)
    if "scene" in over:
        raise ReportError(
            "--over scene: a table has means over scenes already, for each data set whose scenes are complete: "
            "leave scene out of --over (--cols none shows the means alone)"
        )
    names = (*rows, *cols, *over)
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ReportError(f"{', '.join(twice)} is named twice among --rows, --cols and --over: name it once")
    if not rows:
        raise ReportError("--rows names nothing: name a key, e.g. --rows model")
    return TableSpec(rows, cols, over)


def _allowed_words(allow: Sequence[str], runs: Sequence[Run], metrics: Sequence[Metric]) -> list[str]:
    """The words of --allow, with endings of keys as whole keys. Raises ReportError for one that matches nothing."""
    words = {
        *ALLOW_WORD.values(),
        *RECORD_FIELDS,
        *OTHER_KEYS,
        *GEOMETRY_CONFIG,
        *(m.requested for m in metrics),
    }
    for run in runs:
        if run.record.scores is not None:
            words.update(f"scores.{key}" for key in run.record.scores.settings)
    found = []
    for word in allow:
        if word in words or any(has_key(r.record.config, word) for r in runs):
            found.append(word)
            continue
        keys = known_keys(runs) | {w for w in words if "." in w}
        key = unique_ending(word, keys, "--allow")
        if key is None:
            raise ReportError(
                f"--allow {word}: there is no such word or key.{suggestion(word, {*words, *keys})} There are "
                f"{', '.join(sorted(set(ALLOW_WORD.values())))}, dotted keys of the config, and scores.<setting>"
            )
        found.append(key)
    return found


def _no_runs_message(request: TableRequest, found: Collection) -> str:
    named = ", ".join(request.sources)
    lines = [f"no runs in {named}: there is nothing to make a table of"]
    if request.conditions and found.runs:
        wanted = ", ".join(f"{k}={v}" for k, v in request.conditions)
        keys = {k for k, _ in request.conditions}
        have = "; ".join(
            f"{k}: {', '.join(sorted({value_text(r.get(k)) for r in found.runs})[:12])}" for k in sorted(keys)
        )
        lines = [f"none of the {len(found.runs)} runs in {named} has {wanted}; there are {have}"]
    lines += [f"  planned, without a record: {t}: {c}" for t, c in list(found.absent.items())[:10]]
    if found.broken:
        lines.append(f"  {len(found.broken)} files there cannot be read as records")
    return "\n".join(lines)
