"""Writes a document as an xlsx workbook: a sheet for each block with numbers as numbers, the notes, and all cells."""

import io
import re
from collections.abc import Sequence
from typing import Any, Literal

from isosweep.report.document import Block, CellText, Document, Line
from isosweep.report.keys import ReportError
from isosweep.report.long_form import without_controls

INSTALL = (
    "xlsx needs openpyxl, which is not installed: pip install 'isosweep[report]' (or openpyxl), or leave xlsx "
    "out of -f"
)
LONGEST_NAME = 31
"""Characters of a sheet's name, as Excel allows."""


def to_xlsx(document: Document, named: dict[str, Sequence[dict[str, Any]]]) -> bytes:
    """The workbook's bytes. A mean and its ± stand in columns of their own; numbers are unrounded and shown rounded.

    Args:
        named: further sheets in long form, by name.

    Raises:
        ReportError: openpyxl is not installed.
    """
    try:
        import openpyxl  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
    except ImportError as error:
        raise ReportError(INSTALL) from error
    book: Any = openpyxl.Workbook()
    book.remove(book.active)
    for block in document.blocks:
        _write_block(_sheet(book, block.title or document.title), block)
    notes = _sheet(book, "notes")
    texts = [document.title, *document.notes]
    texts += [f"[{i}] {s}" for i, s in enumerate(document.sources, 1)]
    texts += [f"Missing or failed: {c}" for c in document.causes]
    for i, text in enumerate(texts, 1):
        _put(notes, i, 1, text)
    for name, lines in named.items():
        sheet = _sheet(book, name)
        for column, head in enumerate(lines[0] if lines else ("kind",), 1):
            _put(sheet, 1, column, head, bold=True)
        for row, line in enumerate(lines, 2):
            for column, value in enumerate(line.values(), 1):
                _put(sheet, row, column, value)
        sheet.freeze_panes = "A2"
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def _sheet(book: Any, title: str) -> Any:
    """A new sheet; its name has no character that Excel refuses, and is no other's."""
    base = re.sub(r"[\[\]:*?/\\']", " ", without_controls(title)).strip() or "table"
    name, number = base[:LONGEST_NAME], 2
    while name.lower() in (s.lower() for s in book.sheetnames):
        end = f" ({number})"
        name, number = base[: LONGEST_NAME - len(end)] + end, number + 1
    return book.create_sheet(name)


def _write_block(sheet: Any, block: Block) -> None:
    spreads = [any(line.cells[i].std is not None for line in block.lines) for i in range(len(block.columns))]
    heads = list(block.labels)
    for head, spread in zip(block.columns, spreads, strict=True):
        heads += [head, "± std"] if spread else [head]
    _put(sheet, 1, 1, block.caption or block.title)
    for column, head in enumerate(heads, 1):
        _put(sheet, 2, column, head, bold=True)
        sheet.column_dimensions[sheet.cell(2, column).column_letter].width = max(
            10, min(40, *(len(x) + 2 for x in [head, *(_label(line, column) for line in block.lines)]))
        )
    for row, line in enumerate(block.lines, 3):
        italic = line.kind == "published"
        for column in range(1, len(block.labels) + 1):
            _put(sheet, row, column, _label(line, column), italic=italic)
        column = len(block.labels) + 1
        for cell, spread in zip(line.cells, spreads, strict=True):
            _put_number(sheet, row, column, cell, italic)
            if spread and cell.std is not None:
                _put(sheet, row, column + 1, cell.std, digits=cell.digits)
            column += 2 if spread else 1
    sheet.freeze_panes = sheet.cell(3, len(block.labels) + 1).coordinate


def _label(line: Line, column: int) -> str:
    if column > len(line.labels):
        return ""
    note = {"external": " (external)", "published": f" [{line.reference}]", "ours": ""}[line.kind]
    return line.labels[column - 1] + (note if column == 1 else "")


def _put_number(sheet: Any, row: int, column: int, cell: CellText, italic: bool) -> None:
    value: Any = cell.main if cell.value is None else cell.value
    _put(
        sheet, row, column, value,
        bold=cell.mark == "best", italic=italic, underline="single" if cell.mark == "second" else None,
        digits=cell.digits,
    )  # fmt: skip


def _put(
    sheet: Any, row: int, column: int, value: Any, *,
    bold: bool = False, italic: bool = False, underline: Literal["single"] | None = None, digits: int | None = None,
) -> None:  # fmt: skip
    """Write one cell. Text is text, also where it begins with = as a formula does."""
    from openpyxl.styles import Font  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

    cell = sheet.cell(row, column)
    if isinstance(value, str):
        cell.value = without_controls(value).encode(errors="backslashreplace").decode()
        cell.data_type = "s"
    else:
        cell.value = value
        if digits is not None and value is not None:
            cell.number_format = "0." + "0" * digits if digits else "0"
    if bold or italic or underline:
        cell.font = Font(bold=bold, italic=italic, underline=underline)
