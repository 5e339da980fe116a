"""What is a number in somebody else's file."""

import math

import pytest

from isosweep.runtime.number import is_number


@pytest.mark.parametrize(
    ("value", "is_one"),
    [(0, True), (-1.5, True), (10**299, True), (10**301, False), (10**400, False), (1e300, False), (math.nan, False),
     (math.inf, False), (-math.inf, False), (True, False), (None, False), ("1", False), ([1], False)],
)  # fmt: skip
def test_what_a_float_holds_is_a_number_and_true_is_none(value: object, is_one: bool) -> None:
    assert is_number(value) is is_one
