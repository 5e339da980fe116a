"""Marks the best and the second best value of a column, compared as they are printed."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal

from isosweep.report.metrics import Metric

Mark = Literal["", "best", "second"]


def format_number(value: float, digits: int) -> str:
    """A number as it is printed; '-0.00' becomes '0.00'."""
    made = f"{value:.{digits}f}"
    return made[1:] if made.startswith("-") and not float(made) else made


def rounded(value: float, digits: int) -> Decimal:
    """The printed number as an exact decimal."""
    return Decimal(format_number(value, digits))


def rank_marks(values: Sequence[float | None], metric: Metric) -> list[Mark]:
    """The mark of each value of a column; a None has none.

    Equal values share a mark: there may be two bests, and the next value is second. Nothing is marked if the metric
    has no direction, or if there are fewer than two values.
    """
    if metric.direction == "none" or sum(v is not None for v in values) < 2:
        return [""] * len(values)
    known = sorted(
        {rounded(v, metric.digits) for v in values if v is not None}, reverse=metric.direction == "up"
    )
    places: tuple[Mark, Mark] = ("best", "second")
    names: Mapping[Decimal, Mark] = dict(zip(known, places, strict=False))
    return ["" if v is None else names.get(rounded(v, metric.digits), "") for v in values]
