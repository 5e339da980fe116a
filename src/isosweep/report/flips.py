"""Rank flips: two methods of which one is better under one protocol, and the other under another."""

from collections.abc import Mapping

from isosweep.report.captions import Pair
from isosweep.report.cells import Key, Table
from isosweep.report.keys import value_text
from isosweep.report.ranking import rounded

FLIP = "↕"
"""Marks a number whose method is on the other side of another one than under the first protocol."""
MOST = 12


def flipped_rows(table: Table, pair: Pair) -> set[Key]:
    """The rows whose method has changed places with another since the first protocol that has both."""
    return {row for _, rows in _flips(table, pair) for row in rows}


def flip_notes(table: Table) -> list[str]:
    """A sentence that names the pairs of methods and the protocols; empty where every rank holds."""
    texts = [
        text for metric in table.metrics for c in table.columns for text, _ in _flips(table, (c, metric))
    ]
    if not texts:
        return []
    more = f"; and {len(texts) - MOST} more" if len(texts) > MOST else ""
    return [f"Rank flips between protocols ({FLIP}): {'; '.join(texts[:MOST])}{more}."]


def _flips(table: Table, pair: Pair) -> list[tuple[str, tuple[Key, Key]]]:
    """Of each pair of methods and protocol where their order is reversed: the sentence, and the two rows."""
    metric = pair[1]
    if metric.direction == "none" or "protocol" not in table.spec.rows:
        return []
    at = table.spec.rows.index("protocol")
    by_protocol: dict[str, dict[Key, Key]] = {}
    for row in table.rows:
        if table.cell(row, *pair).mean is not None:
            by_protocol.setdefault(str(row[at]), {})[(*row[:at], *row[at + 1 :])] = row
    first: dict[tuple[Key, Key], tuple[str, int]] = {}
    found: list[tuple[str, tuple[Key, Key]]] = []
    for protocol, rows in by_protocol.items():
        methods = list(rows)
        for i, a in enumerate(methods):
            for b in methods[i + 1 :]:
                order = _order(table, pair, rows, a, b)
                if order == 0:
                    continue
                where, before = first.setdefault((a, b), (protocol, order))
                if before != order:
                    better, worse = (a, b) if order > 0 else (b, a)
                    text = f"{metric.word}: {_name(better)} before {_name(worse)} under {protocol}, not under {where}"
                    found.append((text, (rows[a], rows[b])))
    return found


def _order(table: Table, pair: Pair, rows: Mapping[Key, Key], a: Key, b: Key) -> int:
    """1 if a is better than b as printed, -1 if b is, 0 if they are equal."""
    one, two = (table.cell(rows[m], *pair).mean for m in (a, b))
    assert one is not None
    assert two is not None
    x, y = rounded(one, pair[1].digits), rounded(two, pair[1].digits)
    return 0 if x == y else 1 if (x > y) == (pair[1].direction == "up") else -1


def _name(method: Key) -> str:
    return " ".join(value_text(v) for v in method)
