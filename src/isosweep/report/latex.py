"""Renders a document as LaTeX to be \\input: a booktabs table for each block; a wide table also needs graphicx."""

import re

from isosweep.report.document import Block, CellText, Document, Line

_ESCAPES = {
    "\0": "{}", "`": "{`}", "\\": r"\textbackslash{}",
    "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "[": "{[}", "]": "{]}", "±": r"$\pm$", "–": "--", "—": "---",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "×": r"$\times$", "µ": r"$\mu$", "α": r"$\alpha$", "β": r"$\beta$",
    "γ": r"$\gamma$", "λ": r"$\lambda$", "σ": r"$\sigma$", "°": r"$^\circ$", "\t": " ", "\n": " ", "…": r"\ldots{}",
}  # fmt: skip


def render(document: Document) -> str:
    """The document as a LaTeX fragment. Its first line names the packages; notes follow the tables in small print."""
    needs = "\\usepackage{booktabs}" + (
        "\\usepackage{graphicx}" if any(_width(b) > FITS for b in document.blocks) else ""
    )
    parts = [f"% {_comment(document.title)}: needs {needs}"]
    parts += [_table(block, document.title) for block in document.blocks]
    notes = [escape(n) for n in document.notes]
    notes += [f"[{i}] {escape(s)}" for i, s in enumerate(document.sources, 1)]
    if document.causes:
        notes.append("Missing and failed: " + "; ".join(escape(c) for c in document.causes) + ".")
    parts.append("\\begin{flushleft}\\footnotesize\n" + "\\par\n".join(notes) + "\n\\end{flushleft}")
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text as LaTeX prints it; a letter that pdflatex does not know becomes its code point."""
    text = text.replace("--", "-\0-").replace("--", "-\0-")  # LaTeX would print -- as a dash, also in --allow
    return "".join(_ESCAPES.get(c) or (c if _printed(c) else f"{{U+{ord(c):04X}}}") for c in text)


def _printed(c: str) -> bool:
    """Whether pdflatex can print a character in its default encoding, OT1."""
    return " " <= c <= "ÿ" and c.isprintable() and c not in "«»ÐÞðþ"


def _comment(text: str) -> str:
    return " ".join(text.split())


FITS = 90
"""Characters of a line; a wider table is shrunk to the line."""


def _width(block: Block) -> int:
    rows = [(*block.labels, *block.columns)]
    rows += [(*line.labels, *(f"{c.main} {c.extra}".strip() for c in line.cells)) for line in block.lines]
    return sum(max(len(row[i]) for row in rows) + 2 for i in range(len(rows[0])))


def _label(title: str) -> str:
    """Letters, digits and hyphens: 'tab:small-nvs-psnr'."""
    return "tab:" + "-".join(re.findall(r"[a-z0-9]+", title.lower()))


def _table(block: Block, title: str) -> str:
    names = len(block.labels)
    head = " & ".join(escape(x) for x in (*block.labels, *block.columns))
    caption = ": ".join(escape(x) for x in (title, block.title) if x)
    wide = _width(block) > FITS
    ours = [_line(line) for line in block.lines if line.kind != "published"]
    published = [_line(line) for line in block.lines if line.kind == "published"]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{caption}}}",
            f"\\label{{{_label(f'{title} {block.title}')}}}",
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
