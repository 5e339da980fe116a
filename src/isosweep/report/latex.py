"""Renders a document as LaTeX to be \\input: a booktabs float for each block; a wide table also needs graphicx."""

import re
from collections.abc import Sequence

from isosweep.report.document import Block, CellText, Document, Line

_ESCAPES = {
    "\0": "{}", "`": "{`}", "\\": r"\textbackslash{}",
    "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "[": "{[}", "]": "{]}", "±": r"$\pm$", "–": "--", "—": "---",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "↕": r"$\updownarrow$", "×": r"$\times$",
    "µ": r"$\mu$", "α": r"$\alpha$", "β": r"$\beta$",
    "γ": r"$\gamma$", "λ": r"$\lambda$", "σ": r"$\sigma$", "°": r"$^\circ$", "\t": " ", "\n": " ", "…": r"\ldots{}",
}  # fmt: skip


def render(document: Document) -> str:
    """The document as a LaTeX fragment: a float for each block.

    The first line names the packages. Notes stand inside the first float, in small print below its numbers, and the
    other floats refer to it.
    """
    needs = "\\usepackage{booktabs}" + (
        "\\usepackage{graphicx}" if any(_width(b) > FITS for b in document.blocks) else ""
    )
    parts = [f"% {_comment(document.title)}: needs {needs}"]
    labels: list[str] = []
    for block in document.blocks:
        label = _label(f"{document.title} {block.title}")
        labels.append(label if label not in labels else f"{label}-{len(labels)}")
        below = _notes(document) if len(labels) == 1 else [f"Notes: see Table~\\ref{{{labels[0]}}}."]
        parts.append(_table(block, document.named, labels[-1], below))
    return "\n\n".join(parts) + "\n"


def _notes(document: Document) -> list[str]:
    notes = [escape(n) for n in document.notes]
    notes += [f"[{i}] {escape(s)}" for i, s in enumerate(document.sources, 1)]
    if document.causes:
        causes = [escape(c) for c in document.causes[:MOST_CAUSES]]
        more = len(document.causes) - MOST_CAUSES
        causes += [f"and {more} more; the csv has each"] if more > 0 else []
        notes.append(f"Missing and failed: {'; '.join(causes)}.")
    return notes


def escape(text: str) -> str:
    """Text as LaTeX prints it; a letter that pdflatex does not know becomes its code point."""
    text = text.replace("--", "-\0-").replace("--", "-\0-")  # LaTeX would print -- as a dash, also in --allow
    return "".join(_ESCAPES.get(c) or (c if _printed(c) else f"{{U+{ord(c):04X}}}") for c in text)


def _printed(c: str) -> bool:
    """Whether pdflatex can print a character in its default encoding, OT1."""
    return " " <= c <= "ÿ" and c.isprintable() and c not in "«»ÐÞðþ"


def _comment(text: str) -> str:
    return " ".join(text.split())


MOST_CAUSES = 12
"""More causes of missing numbers would not fit the page that the float is on."""
FITS = 68
"""Characters that fit the line of an article (345 pt at 10 pt, measured: 5 pt each); a wider table is shrunk to it."""


def _width(block: Block) -> int:
    rows = [(*block.labels, *block.columns)]
    rows += [(*line.labels, *(f"{c.main} {c.extra}".strip() for c in line.cells)) for line in block.lines]
    return sum(max(len(row[i]) for row in rows) + 2 for i in range(len(rows[0])))


def _label(title: str) -> str:
    """Letters, digits and hyphens: 'tab:small-nvs-psnr'."""
    return "tab:" + "-".join(re.findall(r"[a-z0-9]+", title.lower()))


def _table(block: Block, named: str, label: str, below: Sequence[str]) -> str:
    names = len(block.labels)
    head = " & ".join(escape(x) for x in (*block.labels, *block.columns))
    caption = escape(f"{named}. " if named else "") + escape(block.caption or block.title)
    wide = _width(block) > FITS
    ours = [_line(line) for line in block.lines if line.kind != "published"]
    published = [_line(line) for line in block.lines if line.kind == "published"]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{caption}}}",
            f"\\label{{{label}}}",
            r"\smallskip",
            *([r"\resizebox{\linewidth}{!}{%"] if wide else []),
            f"\\begin{{tabular}}{{{'l' * names}{'r' * len(block.columns)}}}",
            r"\toprule",
            f"{head} \\\\",
            r"\midrule",
            *ours,
            *([r"\midrule"] if published else []),
            *published,
            r"\bottomrule",
            r"\end{tabular}" + ("}" if wide else ""),
            *(
                [r"\par\medskip", r"\parbox{\linewidth}{\footnotesize", "\\par\n".join(below), "}"]
                if below
                else []
            ),
            r"\end{table}",
        ]
    )


def _line(line: Line) -> str:
    first, *rest = [escape(x) for x in line.labels]
    if line.kind == "external":
        first += " (external)"
    elif line.kind == "published":
        first = f"\\textit{{{first}}} {{[{line.reference}]}}"
    elif first.startswith("*"):  # LaTeX would read it as part of the line break before it
        first = f"{{}}{first}"
    return " & ".join([first, *rest, *(_cell(c) for c in line.cells)]) + r" \\"


def _cell(cell: CellText) -> str:
    main = escape(cell.main)
    if cell.mark:
        main = f"\\textbf{{{main}}}" if cell.mark == "best" else f"\\underline{{{main}}}"
    extra = escape(cell.extra)
    return f"{main} {extra}".strip()
