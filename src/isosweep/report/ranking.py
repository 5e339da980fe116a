"""Best and second best of each column, by the values as they are printed."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal

from isosweep.report.metrics import Metric

Mark = Literal["", "best", "second"]


def shown(value: float, digits: int) -> str:
    """A number as it is printed; '-0.00' is '0.00'."""
    made = f"{value:.{digits}f}"
    return made[1:] if made.startswith("-") and not float(made) else made


def rounded(value: float, digits: int) -> Decimal:
    """Exactly the number that is printed."""
    return Decimal(shown(value, digits))


def marks(values: Sequence[float | None], metric: Metric) -> list[Mark]:
    """A mark for each value of a column; None has none. Ties share a mark: two bests, then the second best value.

    Nothing is marked without a direction or with fewer than two values.
    """
    if metric.direction == "none" or sum(v is not None for v in values) < 2:
        return [""] * len(values)
    known = sorted(
        {rounded(v, metric.digits) for v in values if v is not None}, reverse=metric.direction == "up"
    )
    places: tuple[Mark, Mark] = ("best", "second")
    names: Mapping[Decimal, Mark] = dict(zip(known, places, strict=False))
    return ["" if v is None else names.get(rounded(v, metric.digits), "") for v in values]
