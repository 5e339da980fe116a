"""Renders a document as Markdown. Its pipe tables are aligned, so that they can be read as plain text."""

import re

from isosweep.report.document import Block, CellText, Document, Line


def render(document: Document) -> str:
    """The document as Markdown text."""
    parts = [f"# {escape(document.title)}"]
    for block in document.blocks:
        parts += [f"## {escape(block.title)}"] if block.title else []
        parts += [*([escape(block.caption)] if block.caption else []), _table(block)]
    parts += [escape(note) for note in document.notes]
    if document.sources:
        parts.append("\n".join(f"[{i}] {escape(s)}" for i, s in enumerate(document.sources, 1)))
    if document.causes:
        parts.append("Missing and failed:\n\n" + "\n".join(f"- {escape(c)}" for c in document.causes))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text with Markdown's special characters escaped. Underscores inside words are left: they mean nothing there."""
    text = re.sub(r"([\\|*`<\[\]])", r"\\\1", re.sub(r"\s+", " ", text))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)


def _table(block: Block) -> str:
    rows = [[escape(x) for x in (*block.labels, *block.columns)]]
    rows += [[*_labels(line), *(_cell(c) for c in line.cells)] for line in block.lines]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    names = len(block.labels)
    rule = ["-" * w if i < names else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    rows.insert(1, rule)
    return "\n".join(
        "| "
        + " | ".join(
            x.ljust(w) if i < names else x.rjust(w) for i, (x, w) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    )


def _labels(line: Line) -> list[str]:
    first, *rest = [escape(x) for x in line.labels]
    if line.kind == "external":
        first += " (external)"
    elif line.kind == "published":
        first = f"*{first}* [{line.reference}]"
    return [first, *rest]


def _cell(cell: CellText) -> str:
    main = escape(cell.main)
    if cell.mark:
        main = f"**{main}**" if cell.mark == "best" else f"<ins>{main}</ins>"
    return f"{main} {cell.extra}".strip()
