"""Writes a table as csv or parquet in long form: one line for each cell and metric, numbers unrounded."""

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from isosweep.report.cells import Table, keys_text
from isosweep.report.collect import Run
from isosweep.report.document import Extras, row_label
from isosweep.report.keys import ReportError, value_text
from isosweep.report.paired import Comparison

INSTALL = (
    "parquet needs pyarrow, which is not installed: pip install 'isosweep[report]' (or pyarrow), or leave parquet "
    "out of -f"
)
FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""First characters at which a spreadsheet begins to compute."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
NUMBERS = ("n", "mean", "std")
COLUMNS = (
    "dataset", "scene", "metric", "unit", "state", "n", "mean", "std", "over", "cause", "protocol", "code_hash",
    "source", "setting", "origin", "link",
)  # fmt: skip
SHARED = ("dataset", "scene", "protocol", "code_hash")
"""Columns that hold the table's key of the same name. Any other key with a column's name becomes 'key.<name>'."""


def cell_lines(table: Table, extras: Extras) -> list[dict[str, Any]]:
    """One line for each cell, each mean and each published figure, as column name -> value.

    ``kind`` is ours, external or published; ``scene`` is '' for a mean over scenes; ``state`` is value, failed or
    missing. ``mean`` is None where there is no number, ``std`` where n is 1.
    """
    lines: list[dict[str, Any]] = []
    codes: dict[tuple[Any, str], set[str]] = {}
    for (row, place), members in table.atoms.items():
        codes.setdefault((row, place.dataset), set()).update(_codes(members))
    for row in table.rows:
        for column in table.columns:
            for metric in table.metrics:
                cell = table.cell(row, column, metric)
                keys = _keys(table.spec.keys, (*row, *column.col))
                line = _empty_line(table, row_label(row)) | keys
                if column.dataset:
                    line["dataset"] = column.dataset
                elif line["dataset"] is None and len(table.datasets) == 1:
                    line["dataset"] = table.datasets[0]
                dataset = line["dataset"]
                line |= {
                    "kind": "external" if row in table.external else "ours",
                    "metric": metric.name,
                    "unit": metric.unit,
                    "state": cell.state,
                    "n": cell.n,
                    "mean": cell.mean,
                    "std": cell.std,
                    "over": "; ".join(keys_text(table.spec.over, o) for o in cell.values),
                    "cause": "; ".join(f"{c.place}: {c.why}" if c.place else c.why for c in cell.causes),
                    "protocol": ", ".join(cell.protocols),
                    "code_hash": ", ".join(sorted(codes.get((row, str(dataset)), ()))) if cell.n else "",
                } | {k: keys[k] for k in ("protocol", "code_hash") if k in keys}
                lines.append(line)
    for one in (one for row in extras.published for one in row.found):
        for (column, metric), figure in one.cells.items():
            line = _empty_line(table, one.line.method) | _keys(table.spec.cols, column.col)
            line |= {
                "dataset": column.dataset or line["dataset"] or table.datasets[0],
                "kind": "published",
                "metric": metric.name,
                "unit": metric.unit,
                "state": "value",
                "mean": float(figure),
                "protocol": one.line.protocol,
                "source": one.line.source,
                "setting": one.line.setting,
                "origin": one.line.origin,
                "link": one.line.link,
            }
            lines.append(line)
    return [{k: _plain(k, v) for k, v in line.items()} for line in lines]


def comparison_lines(table: Table, comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One line for each row and metric that ``--against`` compared."""
    return [
        {
            **{k: _plain(k, v) for k, v in _keys(table.spec.rows, c.row).items()},
            "baseline": without_controls(keys_text(table.spec.rows, c.baseline)),
            "metric": c.metric.name,
            "n": c.n,
            "pairs": sum(c.seeds.values()),
            "left_out": c.left_out,
            "mean_difference": c.mean,
            "low": c.low,
            "high": c.high,
            "better": c.better,
            "worse": c.worse,
            "ties": c.ties,
            "p": c.p,
            "missing": without_controls(", ".join(c.missing)),
        }
        for c in comparisons
    ]


def to_csv(lines: Sequence[dict[str, Any]]) -> str:
    """The lines as csv (RFC 4180, but with \\n at their ends). None is empty, and a number reads back as the same.

    Text that a spreadsheet would run as a formula has an apostrophe before it, as OWASP advises.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([no_formula(without_controls(name)) for name in (lines[0] if lines else ("kind",))])
    writer.writerows([no_formula(v) if isinstance(v, str) else v for v in line.values()] for line in lines)
    return out.getvalue()


def without_controls(text: str) -> str:
    """The text without control characters; each run of line breaks and tabs is one blank."""
    if text.isprintable():
        return text
    blanks = re.sub(r"[\t\n\v\f\r\x85\u2028\u2029]+", " ", text)
    return "".join(c for c in blanks if unicodedata.category(c) != "Cc")


def no_formula(text: str) -> str:
    """The text, with an apostrophe before it if a spreadsheet would take it for a formula; a number stays as it is."""
    if not text.lstrip().startswith(FORMULA_STARTS) or NUMBER.fullmatch(text):
        return text
    return f"'{text}"


def to_parquet(lines: Sequence[dict[str, Any]]) -> bytes:
    """The lines as a parquet file. Raises ReportError with what to install if pyarrow is missing."""
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ReportError(INSTALL) from error
    table = pyarrow.table({name: [line[name] for line in lines] for name in lines[0]})
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def _empty_line(table: Table, method: str) -> dict[str, Any]:
    """A line with all columns in their order; only ``method`` is filled in."""
    names = ("kind", "method", *(_column(k) for k in table.spec.keys), *COLUMNS)
    line: dict[str, Any] = dict.fromkeys(names)
    return line | {"method": method}


def _column(key: str) -> str:
    taken = (
        "kind",
        "method",
        "baseline",
        "mean_difference",
        "low",
        "high",
        "better",
        "worse",
        "ties",
        "p",
        "missing",
        "pairs",
        "left_out",
    )
    return f"key.{key}" if key in (*taken, *COLUMNS) and key not in SHARED else key


def _keys(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {_column(k): v for k, v in zip(names, values, strict=True)}


def _codes(members: Sequence[Run]) -> set[str]:
    return {r.code for r in members if r.scored and r.code}


def _plain(name: str, value: Any) -> Any:
    """Statistics as numbers and everything else as text: a parquet column has one type."""
    if name in NUMBERS:
        return value
    return "" if value is None else without_controls(value if isinstance(value, str) else value_text(value))
