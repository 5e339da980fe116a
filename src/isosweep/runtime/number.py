"""What counts as a number in a file or a setting of somebody else."""

from typing import Any

LARGEST = 1e300
"""Below it every whole number is a float, too. NaN and infinities are not below it."""


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
