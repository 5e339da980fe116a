"""From a request to a document: collect, choose keys, check, build, compare, render."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isosweep.record.schema import RECORD_FILE
from isosweep.report import html, latex, markdown
from isosweep.report.cells import Spec, Table, build, group
from isosweep.report.checks import ALLOW_WORD, GEOMETRY_CONFIG, check, refusal, side_notes, split
from isosweep.report.collect import Collection, Run, collect, where
from isosweep.report.default_keys import default_rows, present, require
from isosweep.report.document import Document, Extras, compose
from isosweep.report.keys import FURTHER, OWN, ReportError, leaves, near, text
from isosweep.report.long_form import cell_lines, comparison_lines, to_csv, to_parquet
from isosweep.report.metrics import COSTS, Metric, choose
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
    over: tuple[str, ...] | None = None
    """None: the seed, unless it is a row or a column."""
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
    require([k for k, _ in request.conditions], found.runs, "--where")
    runs = where(found.runs, request.conditions)
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
    _known(request.allow, runs, [metric for metric, _ in chosen])
    atoms = group(runs, spec)
    refused, tolerated = split(check(atoms, spec, chosen), request.allow)
    if refused:
        raise Refused(refusal(refused))
    table = build(runs, spec, [metric for metric, _ in chosen])
    notes = side_notes(atoms, spec)
    comparisons: list[Comparison] = []
    if request.against:
        comparisons, unpaired = compare(table, request.against, "protocol" in request.allow)
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
        more = f" and {len(found.broken) - 10} more" if len(found.broken) > 10 else ""
        notes.append(f"Left out, for they cannot be read as records: {named}{more}.")
    extras = Extras(
        found,
        tolerated,
        comparisons,
        notes,
        rows,
        rank_published=request.rank_published,
        plain=request.plain,
        rank_mixed="protocol" in request.allow,
    )
    title = request.title or ", ".join(name_of(s) for s in request.sources)
    return Made(table, extras, compose(title, table, extras))


def name_of(source: str) -> str:
    """What a source is called in titles and file names: the folder's own name, also of '.' and '..'."""
    path = Path(source)
    if path.name == RECORD_FILE:
        path = path.parent
    return (path.resolve() if path.is_dir() else path).name or "records"


def render(made: Made, formats: Sequence[str]) -> dict[str, bytes]:
    """Ending of a file name -> its bytes; comparisons are further files in the long formats."""
    texts: dict[str, Callable[[Document], str]] = {
        "md": markdown.render,
        "tex": latex.render,
        "html": html.render,
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
    rows = request.rows
    cols = request.cols
    over = request.over
    if over is None:
        over = () if "seed" in (*(rows or ()), *(cols or ())) else ("seed",)
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


def _known(allow: Sequence[str], runs: Sequence[Run], metrics: Sequence[Metric]) -> None:
    """ReportError for a word of --allow that can tolerate nothing here: a misspelt one must not pass."""
    words = {*ALLOW_WORD.values(), *OWN, *FURTHER, *GEOMETRY_CONFIG, *(m.asked for m in metrics)}
    for run in runs:
        if run.record.scores is not None:
            words.update(f"scores.{key}" for key in run.record.scores.settings)
    for word in allow:
        if word not in words and not any(present(r.record.config, word) for r in runs):
            keys = {k for r in runs[:200] for k in leaves(r.record.config)}
            raise ReportError(
                f"--allow {word}: nothing is called so.{near(word, {*words, *keys})} There are "
                f"{', '.join(sorted(set(ALLOW_WORD.values())))}, dotted keys of the config, and scores.<setting>"
            )


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
