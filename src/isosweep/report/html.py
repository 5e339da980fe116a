"""Renders a document as one HTML file without scripts or other files."""

from html import escape

from isosweep.report.document import Block, CellText, Document, Line

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1a1a1a;
  background: #fff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid;
  font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; text-align: right; white-space: nowrap; }
thead th { border-bottom: 1px solid; }
th.name, td.name { text-align: left; }
tr.published { color: #555; font-style: italic; }
tr.ours + tr.published, tr.external + tr.published { border-top: 1px solid; }
.best { font-weight: 700; }
.second { text-decoration: underline; }
.failed { color: #a40000; }
.small { font-size: .85rem; }
@media (prefers-color-scheme: dark) { body { color: #e4e4e4; background: #161616; } tr.published { color: #aaa; }
  .failed { color: #ff8a80; } }
"""


def render(document: Document) -> str:
    """The document as the text of an HTML file."""
    title = escape(document.title)
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">',
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>",
    ]
    parts += [_table(block) for block in document.blocks]
    parts += [f'<p class="small">{escape(note)}</p>' for note in document.notes]
    if document.sources:
        parts.append(
            '<ol class="small">' + "".join(f"<li>{escape(s)}</li>" for s in document.sources) + "</ol>"
        )
    if document.causes:
        parts.append("<h2>Missing and failed</h2>")
        parts.append(
            '<ul class="small">' + "".join(f"<li>{escape(c)}</li>" for c in document.causes) + "</ul>"
        )
    return "\n".join([*parts, "</body>\n</html>"]) + "\n"


def _table(block: Block) -> str:
    head = "".join(f'<th class="name">{escape(x)}</th>' for x in block.labels)
    head += "".join(f"<th>{escape(x)}</th>" for x in block.columns)
    body = "\n".join(_line(line) for line in block.lines)
    title = f"<h2>{escape(block.title)}</h2>\n" if block.title else ""
    head = f"<thead><tr>{head}</tr></thead>"
    caption = f"<p>{escape(block.caption)}</p>\n" if block.caption else ""
    return f'{title}{caption}<div class="wide"><table>\n{head}\n<tbody>\n{body}\n</tbody>\n</table></div>'


def _line(line: Line) -> str:
    first, *rest = line.labels
    note = {"external": " (external)", "published": f" [{line.reference}]", "ours": ""}[line.kind]
    names = "".join(f'<td class="name">{escape(x)}</td>' for x in (first + note, *rest))
    return f'<tr class="{line.kind}">{names}{"".join(_cell(c) for c in line.cells)}</tr>'


def _cell(cell: CellText) -> str:
    kind = cell.mark or ("failed" if cell.main == "failed" else "")
    main = f'<span class="{kind}">{escape(cell.main)}</span>' if kind else escape(cell.main)
    return f"<td>{main}{f' {escape(cell.extra)}' if cell.extra else ''}</td>"
