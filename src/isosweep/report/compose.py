"""Puts a document together: blocks, notes, sources of published rows, causes of missing numbers."""

from isosweep.report.blocks import blocks_of, uniform_n
from isosweep.report.cells import Table
from isosweep.report.document import Document, Extras
from isosweep.report.notes import cause_texts, note_texts, source_text


def compose_document(title: str, table: Table, extras: Extras, named: str = "") -> Document:
    """The printed form of a table; blocks.py says which blocks there are, Document what ``named`` is."""
    return Document(
        title,
        blocks_of(table, extras),
        note_texts(table, extras, uniform_n(table)),
        cause_texts(table),
        [source_text(one, table) for row in extras.published for one in row.found],
        named,
    )
