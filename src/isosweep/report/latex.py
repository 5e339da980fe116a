"""LaTeX: one booktabs table a block, to be \\input; needs \\usepackage{booktabs} and nothing else."""

from isosweep.report.document import Block, Document, Line, Text

_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "±": r"$\pm$", "–": "--", "—": "---",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "×": r"$\times$", "µ": r"$\mu$", "α": r"$\alpha$", "β": r"$\beta$",
    "γ": r"$\gamma$", "λ": r"$\lambda$", "σ": r"$\sigma$", "°": r"$^\circ$", "\t": " ", "\n": " ", "…": r"\ldots{}",
}  # fmt: skip
_ESCAPES['"'] = "''"  # \textquotedbl needs T1 fonts


def render(document: Document) -> str:
    """A fragment; the notes follow the last table in small print."""
    parts = [f"% {_comment(document.title)}: needs \\usepackage{{booktabs}}"]
    parts += [_table(block, document.title) for block in document.blocks]
    notes = [escape(n) for n in document.notes]
    notes += [f"[{i}] {escape(s)}" for i, s in enumerate(document.sources, 1)]
    if document.causes:
        notes.append("Missing and failed: " + "; ".join(escape(c) for c in document.causes) + ".")
    parts.append("\\begin{flushleft}\\footnotesize\n" + "\\par\n".join(notes) + "\n\\end{flushleft}")
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text as LaTeX prints it; a letter that pdflatex does not know becomes its code point."""
    return "".join(
        _ESCAPES.get(c) or (c if " " <= c <= "ÿ" and c.isprintable() else f"{{U+{ord(c):04X}}}") for c in text
    )


def _comment(text: str) -> str:
    return " ".join(text.split())


def _table(block: Block, title: str) -> str:
    names = len(block.labels)
    head = " & ".join(escape(x) for x in (*block.labels, *block.columns))
    caption = ": ".join(escape(x) for x in (title, block.title) if x)
    ours = [_line(line) for line in block.lines if line.kind != "published"]
    published = [_line(line) for line in block.lines if line.kind == "published"]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{caption}}}",
            f"\\begin{{tabular}}{{{'l' * names}{'r' * len(block.columns)}}}",
            r"\toprule",
            f"{head} \\\\",
            r"\midrule",
            *ours,
            *([r"\midrule"] if published else []),
            *published,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _line(line: Line) -> str:
    first, *rest = [escape(x) for x in line.labels]
    if line.kind == "external":
        first += " (external)"
    elif line.kind == "published":
        first = f"\\textit{{{first}}} {{[{line.reference}]}}"
    elif first.startswith("["):  # would be read as the argument of the line break before
        first = f"{{}}{first}"
    return " & ".join([first, *rest, *(_cell(c) for c in line.cells)]) + r" \\"


def _cell(cell: Text) -> str:
    main = escape(cell.main)
    if cell.mark:
        main = f"\\textbf{{{main}}}" if cell.mark == "best" else f"\\underline{{{main}}}"
    extra = escape(cell.extra)
    return f"{main} {extra}".strip()
