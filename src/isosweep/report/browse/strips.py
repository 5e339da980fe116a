"""The reproduction ledger of the page: the published figures of a cell along a line, ours beside them."""

from typing import Any

from isosweep.report.keys import value_text
from isosweep.report.ledger import chosen_pairs, our_rows, place_text
from isosweep.report.pipeline import MadeTable
from isosweep.report.ranking import format_number


def ledger_strips(made: MadeTable) -> list[dict[str, Any]]:
    """A strip for each published method and column that has a figure: the means, or else some scenes.

    ``figures`` are those of the sources, each with origin, setting, source and link; ``ours`` are the means of the rows
    that are called as the method, or else of the best row.
    """
    table = made.table
    found = []
    for row in made.extras.published:
        for metric in table.metrics:
            for pair in chosen_pairs(row, metric, table, least=1):
                figures = [
                    {"text": text, "value": float(text), "origin": line.origin, "setting": line.setting,
                     "source": line.source, "link": line.link}
                    for text, line in row.strip(pair)
                ]  # fmt: skip
                ours = [
                    {
                        "text": format_number(mean, metric.digits),
                        "value": mean,
                        "row": " ".join(map(value_text, key)),
                    }
                    for key, mean in our_rows(table, row.method, pair)
                ]
                found.append({
                    "method": row.method, "score": metric.heading, "place": place_text(table, pair[0]),
                    "figures": figures, "ours": ours,
                })  # fmt: skip
    return found
