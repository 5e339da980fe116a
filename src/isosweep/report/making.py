"""From a request to a document: collect, choose keys, check, build, compare, render."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isosweep.report import latex, markdown, page
from isosweep.report.cells import Spec, Table, build, group
from isosweep.report.checks import check, refusal, side_notes, split
from isosweep.report.choice import default_rows, require
from isosweep.report.collect import Collection, Run, collect, where
from isosweep.report.document import Document, Extras, compose
from isosweep.report.fields import ReportError, text
from isosweep.report.lines import cell_lines, comparison_lines, to_csv, to_parquet
from isosweep.report.metrics import COSTS, choose
from isosweep.report.paired import Comparison, compare
from isosweep.report.published import beside, read_published

FORMATS = ("md", "tex", "csv", "html", "parquet")
Pairs = tuple[tuple[str, str], ...]


class NoRuns(ReportError):
    """There is nothing to make a table of."""


class Refused(ReportError):
    """The numbers are not comparable; nothing is written."""


@dataclass(frozen=True)
class Request:
    """One table as it is asked for; None leaves rows and columns to choice.py."""

    sources: tuple[str, ...]
    root: Path = Path("results/runs")
    rows: tuple[str, ...] | None = None
    cols: tuple[str, ...] | None = None
    over: tuple[str, ...] = ("seed",)
    metrics: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    conditions: Pairs = ()
    against: Pairs = ()
    allow: tuple[str, ...] = ()
    published: Path | None = None
    rank_published: bool = False
    digits: dict[str, int] = field(default_factory=dict)
    title: str | None = None


@dataclass(frozen=True)
class Made:
    table: Table
    extras: Extras
    document: Document

    @property
    def comparisons(self) -> Sequence[Comparison]:
        return self.extras.comparisons


def make(request: Request) -> Made:
    """The table with all that stands around it.

    Raises NoRuns where there is no record, Refused where its numbers are not comparable, ReportError for a key,
    score or source that is not there.
    """
    found = collect(request.sources, request.root)
    runs = where(found.runs, request.conditions, text)
    if not runs:
        raise NoRuns(_nothing(request, found))
    spec = _spec(request, runs)
    for option, keys in (("--rows", spec.rows), ("--cols", spec.cols), ("--over", spec.over)):
        require(keys, runs, option)
    unknown = [c for c in request.columns if c not in COSTS]
    if unknown:
        raise ReportError(f"--columns {','.join(unknown)}: there are {', '.join(COSTS)}")
    chosen = choose(request.metrics, runs, request.digits)
    chosen += choose(request.columns, runs, request.digits) if request.columns else []
    atoms = group(runs, spec)
    refused, tolerated = split(check(atoms, spec, chosen), request.allow)
    if refused:
        raise Refused(refusal(refused))
    table = build(runs, spec, [metric for metric, _ in chosen])
    notes = side_notes(atoms, spec)
    comparisons: list[Comparison] = []
    if request.against:
        comparisons, unpaired = compare(table, request.against)
        notes += [f"Not compared: {note}." for note in unpaired]
    rows, why = (
        beside(table, read_published(request.published)) if request.published is not None else ([], "")
    )
    notes += [f"No published rows: {why}."] if why else []
    notes += [
        f"Planned, without a record: {title}: {cause}." for title, cause in list(found.absent.items())[:40]
    ]
    if found.broken:
        named = ", ".join("/".join(Path(p).parts[-4:]) for p in list(found.broken)[:10])
        notes.append(f"{len(found.broken)} files cannot be read and are left out: {named}.")
    extras = Extras(found, tolerated, comparisons, notes, rows, request.rank_published)
    title = request.title or ", ".join(Path(s).name or s for s in request.sources)
    return Made(table, extras, compose(title, table, extras))


def render(made: Made, formats: Sequence[str]) -> dict[str, bytes]:
    """Ending of a file name -> its bytes; comparisons are further files in the long formats."""
    texts: dict[str, Callable[[Document], str]] = {
        "md": markdown.render,
        "tex": latex.render,
        "html": page.render,
    }
    parts: dict[str, bytes] = {}
    for one in formats:
        if one in texts:
            parts[f".{one}"] = texts[one](made.document).encode()
            continue
        named = {"": cell_lines(made.table, made.extras)}
        if made.comparisons:
            named["-against"] = comparison_lines(made.table, made.comparisons)
        for suffix, lines in named.items():
            parts[f"{suffix}.{one}"] = to_csv(lines).encode() if one == "csv" else to_parquet(lines)
    return parts


def _spec(request: Request, runs: Sequence[Run]) -> Spec:
    over = request.over
    rows = request.rows
    cols = request.cols
    if cols is None:
        cols = () if "scene" in (*(rows or ()), *over) else ("scene",)
    if rows is None:
        rows = default_rows(runs, cols, over)
    if "scene" in over:
        raise ReportError(
            "--over scene: means over scenes are made by themselves, of each data set where every scene is there: "
            "leave scene out of --over (and out of --cols for the means alone: --cols none)"
        )
    names = (*rows, *cols, *over)
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ReportError(f"{', '.join(twice)} is named twice among --rows, --cols and --over: name it once")
    if not rows:
        raise ReportError("--rows names nothing: name a key, e.g. --rows model")
    return Spec(rows, cols, over)


def _nothing(request: Request, found: Collection) -> str:
    named = ", ".join(request.sources)
    lines = [f"no runs in {named}: there is nothing to make a table of"]
    if request.conditions and found.runs:
        asked = ", ".join(f"{k}={v}" for k, v in request.conditions)
        keys = {k for k, _ in request.conditions}
        have = "; ".join(
            f"{k}: {', '.join(sorted({text(r.get(k)) for r in found.runs})[:12])}" for k in sorted(keys)
        )
        lines = [f"none of the {len(found.runs)} runs in {named} has {asked}; there are {have}"]
    lines += [f"  planned, without a record: {t}: {c}" for t, c in list(found.absent.items())[:10]]
    if found.broken:
        lines.append(f"  {len(found.broken)} files there cannot be read as records")
    return "\n".join(lines)
