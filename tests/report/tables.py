"""Printed tables read back: each format as blocks of rows of plain cells, with the marks beside them."""

import html.parser
import re
from dataclasses import dataclass, field


@dataclass
class Printed:
    """``rows``: the heading first; ``marks``: the same shape, '', 'best' or 'second'."""

    rows: list[list[str]] = field(default_factory=list)
    marks: list[list[str]] = field(default_factory=list)

    def add(self, cells: list[tuple[str, str]]) -> None:
        self.rows.append([text for text, _ in cells])
        self.marks.append([mark for _, mark in cells])


def from_markdown(page: str) -> list[Printed]:
    blocks: list[Printed] = []
    before = ""
    for line in page.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                blocks.append(Printed())
            if not re.fullmatch(r"[| :-]+", line):
                blocks[-1].add([_markdown_cell(c.strip()) for c in re.split(r"(?<!\\)\|", line)[1:-1]])
        before = line
    return blocks


def _markdown_cell(cell: str) -> tuple[str, str]:
    mark = "best" if "**" in cell else "second" if "<ins>" in cell else ""
    plain = re.sub(r"\*\*|</?ins>", "", cell)
    return re.sub(r"\\(.)", r"\1", plain), mark


_BACK = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", r"$\pm$": "±", r"$\uparrow$": "↑", r"$\downarrow$": "↓", "{[}": "[",
    "{]}": "]", r"\_": "_", r"\%": "%", r"\&": "&", r"\#": "#", r"\$": "$", r"\{": "{", r"\}": "}", "-{}-": "-\0-",
    "--": "–", "\0": "", "{}": "",
}  # fmt: skip


def from_latex(page: str) -> list[Printed]:
    blocks: list[Printed] = []
    for inside in re.findall(r"\\begin\{tabular\}\{[lr]+\}\n(.*?)\\end\{tabular\}", page, re.S):
        block = Printed()
        for line in inside.splitlines():
            if line.endswith(r"\\"):
                block.add([_latex_cell(c.strip()) for c in re.split(r"(?<!\\)&", line[:-2])])
            else:
                assert line in (r"\toprule", r"\midrule", r"\bottomrule"), line
        blocks.append(block)
    return blocks


def _latex_cell(cell: str) -> tuple[str, str]:
    mark = "best" if r"\textbf{" in cell else "second" if r"\underline{" in cell else ""
    cell = re.sub(r"\\(?:textbf|underline|textit)\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", r"\1", cell)
    for there, here in _BACK.items():
        cell = cell.replace(there, here)
    return cell, mark


class _Reader(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[Printed] = []
        self.open: list[str] = []
        self.line: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta",):
            self.open.append(tag)
        if tag == "table":
            self.blocks.append(Printed())
        elif tag == "tr":
            self.line = []
        elif tag in ("td", "th"):
            self.line.append(("", ""))
        elif tag == "span" and dict(attrs)["class"] in ("best", "second"):
            self.line[-1] = (self.line[-1][0], str(dict(attrs)["class"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "tags are closed in the order in which they were opened"
        if tag == "tr":
            self.blocks[-1].add(self.line)

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.line[-1] = (self.line[-1][0] + data, self.line[-1][1])


def from_html(page: str) -> list[Printed]:
    reader = _Reader()
    reader.feed(page)
    assert not reader.open, reader.open
    return reader.blocks


READ = {"md": from_markdown, "tex": from_latex, "html": from_html}
