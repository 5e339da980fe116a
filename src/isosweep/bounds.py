"""Bounds of numbers, declared once, beside the setting: the check before a run and docs/settings.md read them.

May import: nothing.

A constructor says them in the annotation of its argument, with one of the names below or with an own bound:

    def __init__(self, n_samples: Count = 64, decay: Annotated[float, Bound(above=0, below=1)] = 0.95): ...

A group of plain settings says them beside the field (``config/settings.py``). ``config/numbers.py`` reads both without
importing torch.
"""

from dataclasses import dataclass
from typing import Annotated, Any

LARGEST_WHOLE = 2**31 - 1
"""Above every whole number that anything here can count, but for seeds."""
LARGEST_SEED = 2**63 - 1
LARGEST = 1e12
"""Above every number that a setting can mean; its square is finite in 32 bits."""


@dataclass(frozen=True)
class Bound:
    """Which finite numbers are allowed: from ``least`` to ``most``, with both, and between ``above`` and ``below``."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def holds(self, value: float, whole: bool) -> bool:
        """Whether a number is allowed. NaN and infinities never are.

        Args:
            whole: the setting is a whole number.
        """
        largest = LARGEST_WHOLE if whole else LARGEST
        if not abs(value) <= max(largest, self.most or 0):  # NaN is not either
            return False
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def words(self, whole: bool) -> str:
        """What is allowed, in words: 'a whole number of 1 or more'."""
        kind = "a whole number" if whole else "a number"
        low = f"above {self.above:g}" if self.above is not None else ""
        if self.least is not None:
            low = f"of {_plain(self.least)} or more"
        high = f"below {_plain(self.below)}" if self.below is not None else ""
        if self.most is not None:
            high = f"at most {_plain(self.most)}"
        if self.least is not None and self.most is not None:
            return f"{kind} from {_plain(self.least)} to {_plain(self.most)}"
        return " ".join([kind, " and ".join(part for part in (low, high) if part)]).strip()


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


Number = Annotated[float, Bound()]
Count = Annotated[int, Bound(least=1)]
AtLeastTwo = Annotated[int, Bound(least=2)]
Width = Annotated[int, Bound(least=1, most=65536)]
"""Of a layer of a network."""
Layers = Annotated[int, Bound(least=0, most=256)]
Whole = Annotated[int, Bound(least=0)]
Positive = Annotated[float, Bound(above=0)]
NotNegative = Annotated[float, Bound(least=0)]
Share = Annotated[float, Bound(least=0, most=1)]
Part = Annotated[float, Bound(least=0, below=1)]
PositiveShare = Annotated[float, Bound(above=0, most=1)]
GridCells = Annotated[int, Bound(least=1, most=1024)]
"""Along an axis of a grid: 1024 of them are a billion in all."""
Bands = Annotated[int, Bound(least=0, most=32)]
"""Octaves of sines: the last one of 32 is finer than 32-bit numbers in the unit box are."""
OneOrMany = Annotated[float, Bound(least=1), "list"]
"""A number, or a list of such."""
Rising = Annotated[Any, Bound(least=0)]
"""A number or a schedule, such as [0.1, 0.0, 1.0, 0.5]."""
