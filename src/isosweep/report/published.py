"""Figures that others published (results/published/*.csv), as rows below a table. They are never averaged with ours.

A method has as many lines as there are sources: the paper, the authors' later runs, independent runs. A row prints the
paper's figure, and beside it how far apart the others are (ledger.py).
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isosweep.report.cells import Column, Table
from isosweep.report.keys import ReportError
from isosweep.report.metrics import Metric, name_matches

FIXED = ("method", "dataset", "metric", "setting", "protocol", "source", "status")
"""Columns that every file must have."""
OPTIONAL = ("mean", "time", "gpu", "origin", "link")
"""Columns that a file may have. Every column that is neither fixed nor optional is a scene."""
ORIGINS = ("paper", "authors", "independent")
"""Who got a figure: the paper, the authors in a later run or with their code, or others; empty means the paper."""


def default_folder() -> Path:
    """results/published in the working directory if there is one, else in the checkout."""
    here = Path("results/published")
    return here if here.is_dir() else Path(__file__).resolve().parents[3] / "results" / "published"


@dataclass(frozen=True)
class Published:
    """One line of a file. ``values`` are pairs of scene and printed figure; a scene without figure is left out."""

    method: str
    dataset: str
    metric: str
    setting: str
    protocol: str
    source: str
    status: str
    values: tuple[tuple[str, str], ...]
    mean: str
    scenes: tuple[str, ...]
    """All scenes of the file, over which ``mean`` is taken."""
    origin: str = "paper"
    """One of ORIGINS."""
    link: str = ""


def read_published(folder: Path) -> list[Published]:
    """Read every line of every csv file in a folder, sorted by file; none if there is no such folder.

    Lines that begin with # are comments. Raises ReportError with file and method for a line that cannot be read.
    """
    found: list[Published] = []
    for path in sorted(folder.glob("*.csv")):
        lines = [
            line
            for line in path.read_text(encoding="utf-8").splitlines()
            if line and not line.startswith("#")
        ]
        reader = csv.DictReader(lines)
        names = reader.fieldnames or []
        lacking = [name for name in FIXED if name not in names]
        if lacking:
            raise ReportError(
                f"{path} lacks the columns {', '.join(lacking)}; README.md beside it describes them"
            )
        scenes = tuple(n for n in names if n not in (*FIXED, *OPTIONAL))
        for line in reader:
            if None in line or None in line.values():
                raise ReportError(
                    f"{path}, {line.get('method')!r}: the line does not have {len(names)} columns"
                )
            for name in (*scenes, "mean"):
                _number(line.get(name, ""), path, line["method"], name)
            fixed = {name: line[name].strip() for name in FIXED}
            if not all(
                (fixed["method"], fixed["dataset"], fixed["metric"], fixed["protocol"], fixed["source"])
            ):
                raise ReportError(
                    f"{path}, {line['method']!r}: method, dataset, metric, protocol and source must not be empty"
                )
            values = tuple((s, line[s].strip()) for s in scenes if line[s].strip())
            origin = line.get("origin", "").strip() or "paper"
            if origin not in ORIGINS:
                raise ReportError(
                    f"{path}, {line['method']!r}: origin {origin!r} is none of {', '.join(ORIGINS)}"
                )
            mean, link = (line.get(name, "").strip() for name in ("mean", "link"))
            found.append(
                Published(**fixed, values=values, mean=mean, scenes=scenes, origin=origin, link=link)
            )
    return found


def _number(word: str, path: Path, method: str, name: str) -> None:
    if word.strip():
        try:
            float(word)
        except ValueError:
            raise ReportError(f"{path}, {method!r}: {name} is {word!r}, which is not a number") from None


@dataclass(frozen=True)
class Sourced:
    """What one source printed for a method: its figures by column and metric, as text."""

    line: Published
    cells: Mapping[tuple[Column, Metric], str]


@dataclass(frozen=True)
class PublishedRow:
    """A published method as a row of a table, with every source that has figures of it, the paper first."""

    method: str
    found: tuple[Sourced, ...]

    @property
    def cells(self) -> dict[tuple[Column, Metric], str]:
        """The figure that the row prints: the first source's that has one."""
        kept: dict[tuple[Column, Metric], str] = {}
        for one in self.found:
            for pair, figure in one.cells.items():
                kept.setdefault(pair, figure)
        return kept

    def strip(self, pair: tuple[Column, Metric]) -> list[tuple[str, Published]]:
        """Every figure that was found for one cell, with its line of the file, in the order of ORIGINS."""
        return [(one.cells[pair], one.line) for one in self.found if pair in one.cells]


def published_rows(table: Table, lines: Sequence[Published]) -> tuple[list[PublishedRow], str]:
    """The published rows that have a figure for any column of the table, and a reason if that is impossible.

    All lines of a method are one row. In a mean column stands the published mean if the table has exactly the
    publication's scenes. If it has fewer, the mean is computed from the published figures of these scenes, provided
    that each is there.
    """
    lines = [
        line
        for line in lines
        if line.dataset in table.datasets and any(_is_metric(line, m) for m in table.metrics)
    ]
    if not lines:
        return [], ""
    if not set(table.spec.cols) <= {"scene", "dataset"} or "scene" in table.spec.rows:
        return (
            [],
            "published figures are per scene and stand beside a table whose columns are scenes (--cols scene)",
        )
    rows: dict[str, dict[tuple[str, ...], Sourced]] = {}
    for line in lines:
        cells = {
            (column, metric): figure
            for metric in table.metrics
            if _is_metric(line, metric)
            for column in table.columns
            if column.dataset in ("", line.dataset) and (figure := _figure(line, column, table, metric))
        }
        if cells:  # the scores of one source are lines of their own in the file, and one source here
            of = rows.setdefault(line.method, {})
            ident = (line.origin, line.setting, line.source, line.protocol)
            before = of[ident].cells if ident in of else {}
            of[ident] = Sourced(of[ident].line if ident in of else line, {**before, **cells})
    return [PublishedRow(m, tuple(sorted(of.values(), key=_order))) for m, of in rows.items()], ""


def _order(one: Sourced) -> int:
    return ORIGINS.index(one.line.origin)


def _is_metric(line: Published, metric: Metric) -> bool:
    return line.metric in metric.names or (
        len(metric.names) == 1 and "/" not in metric.name and name_matches(metric.requested, line.metric)
    )


def _figure(line: Published, column: Column, table: Table, metric: Metric) -> str:
    known = dict(line.values)
    if not column.mean:
        scene = column.col[table.spec.cols.index("scene")]
        return known.get(str(scene), "")
    scenes = {p.scene for _, p in table.atoms if p.dataset == line.dataset}
    if scenes == set(line.scenes):
        return line.mean
    if not all(known.get(s) for s in scenes):
        return ""
    return f"{sum(float(known[s]) for s in scenes) / len(scenes):.{metric.digits}f}"
