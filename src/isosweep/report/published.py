"""Figures of papers and other programs (results/published/*.csv), matched to a table; never averaged with ours."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isosweep.report.cells import Column, Table
from isosweep.report.keys import ReportError
from isosweep.report.metrics import Metric, matches

FIXED = ("method", "dataset", "metric", "setting", "protocol", "source", "status")
"""Columns that every file has; ``mean``, ``time`` and ``gpu`` may be there; every other column is a scene."""
OPTIONAL = ("mean", "time", "gpu")


def shipped() -> Path:
    """The checkout's results/published, wherever the command runs; a folder of that name here comes first."""
    here = Path("results/published")
    return here if here.is_dir() else Path(__file__).resolve().parents[3] / "results" / "published"


@dataclass(frozen=True)
class Published:
    """One line of a file. ``values``: scene -> the figure as printed there, '' left out."""

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
    """All scenes of the file: what ``mean`` is a mean of."""


def read_published(folder: Path) -> list[Published]:
    """Every line of every csv file of a folder, sorted by file; none where there is no such folder.

    Lines that begin with # are comments. Raises ReportError with file and line for what cannot be read.
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
                raise ReportError(f"{path}, {line.get('method')!r}: the line has not {len(names)} columns")
            for name in (*scenes, "mean"):
                _number(line.get(name, ""), path, line["method"], name)
            fixed = {name: line[name].strip() for name in FIXED}
            if not all(
                (fixed["method"], fixed["dataset"], fixed["metric"], fixed["protocol"], fixed["source"])
            ):
                raise ReportError(
                    f"{path}, {line['method']!r}: method, dataset, metric, protocol and source must be said"
                )
            values = tuple((s, line[s].strip()) for s in scenes if line[s].strip())
            found.append(Published(**fixed, values=values, mean=line.get("mean", "").strip(), scenes=scenes))
    return found


def _number(word: str, path: Path, method: str, name: str) -> None:
    if word.strip():
        try:
            float(word)
        except ValueError:
            raise ReportError(f"{path}, {method!r}: {name} is {word!r}, which is no number") from None


@dataclass(frozen=True)
class Row:
    """A published method beside a table: its figures by column and metric."""

    method: str
    setting: str
    source: str
    protocol: str
    cells: dict[tuple[Column, Metric], str]


def beside(table: Table, lines: Sequence[Published]) -> tuple[list[Row], str]:
    """The published rows that have a figure for a column of the table, and why there are none where that is so.

    A mean is taken as published where the table's scenes are the publication's, and made of its
    figures where the table has fewer scenes and the publication names each.
    """
    lines = [
        line for line in lines if line.dataset in table.datasets and any(_is(line, m) for m in table.metrics)
    ]
    if not lines:
        return [], ""
    if not set(table.spec.cols) <= {"scene", "dataset"} or "scene" in table.spec.rows:
        return (
            [],
            "published figures are per scene and stand beside a table whose columns are scenes (--cols scene)",
        )
    rows: dict[tuple[str, ...], Row] = {}
    for line in lines:
        ident = (line.method, line.setting, line.source, line.protocol)
        row = rows.setdefault(ident, Row(*ident, cells={}))
        for metric in table.metrics:
            if _is(line, metric):
                for column in table.columns:
                    if column.dataset in ("", line.dataset) and (
                        figure := _figure(line, column, table, metric)
                    ):
                        row.cells[column, metric] = figure
    return [row for row in rows.values() if row.cells], ""


def _is(line: Published, metric: Metric) -> bool:
    return line.metric in metric.names or (
        len(metric.names) == 1 and "/" not in metric.name and matches(metric.asked, line.metric)
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
