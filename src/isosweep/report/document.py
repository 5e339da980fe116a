"""The printed form of a table: texts of cells, marks, notes, sources. compose.py makes it.

markdown.py, latex.py, html.py, terminal.py and spreadsheet.py render it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from isosweep.report.cells import Key
from isosweep.report.checks import Conflict
from isosweep.report.collect import Collection
from isosweep.report.keys import value_text
from isosweep.report.paired import Comparison
from isosweep.report.published import PublishedRow
from isosweep.report.ranking import Mark

Layout = Literal["scenes", "methods", "both"]
"""What columns are: the scenes, in a block for each metric; the metrics, as means over scenes; or both, one after the
other."""


@dataclass(frozen=True)
class CellText:
    """One printed cell: ``main`` is the number, which a mark makes bold or underlined; ``extra`` follows unmarked.

    ``value`` and ``std`` are the same unrounded, for a spreadsheet; None where ``main`` is no number of ours.
    """

    main: str
    extra: str = ""
    mark: Mark = ""
    value: float | None = None
    std: float | None = None
    n: int = 0
    digits: int = 0
    """Decimals of ``main``."""


@dataclass(frozen=True)
class Line:
    """One printed row."""

    kind: Literal["ours", "external", "published"]
    labels: tuple[str, ...]
    cells: tuple[CellText, ...]
    reference: int = 0
    """Number of the row's source in ``Document.sources``, from 1; 0 for none."""


@dataclass(frozen=True)
class Block:
    """One printed table of the document."""

    title: str
    labels: tuple[str, ...]
    """Headings of the columns that hold the row keys."""
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    caption: str = ""
    """What the numbers are, in words: 'Mean over 3 scenes and 3 seeds, ± standard deviation over seeds.'"""


@dataclass
class Document:
    """Everything that a text format prints: tables, notes, causes of missing numbers, sources of published rows."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    named: str = ""
    """The title that the user gave (--title), which captions begin with; '' where ``title`` is the sources' names."""


@dataclass(frozen=True)
class Extras:
    """What a document needs beside the table's cells."""

    collection: Collection = field(default_factory=Collection)
    tolerated: Sequence[Conflict] = ()
    comparisons: Sequence[Comparison] = ()
    notes: Sequence[str] = ()
    published: Sequence[PublishedRow] = ()
    rank_published: bool = False
    layout: Layout = "scenes"
    plain: bool = False
    """Cells without ± and n (--no-spread)."""
    flips: bool = False
    """Ranks that differ from those under the first protocol are marked (--protocols)."""
    rank_mixed: bool = False
    """Rows of other protocols are ranked with ours (--allow protocol)."""


def row_label(row: Key) -> str:
    """The row's values, separated by blanks."""
    return " ".join(value_text(v) for v in row)
