"""Numbers of a json: lists of them as an array, where anything else is an error and never taken for a number."""

from typing import Any

import numpy as np


def as_numbers(value: Any) -> np.ndarray:
    """A number or lists of numbers as a float64 array.

    numpy would take true for 1, null for nan, and a text for the number in it.

    Raises:
        TypeError: something in it is no number.
        ValueError: lists beside each other differ in length, or it is nested more than 8 levels deep.
        OverflowError: a number is too large for float64.
    """
    _check(value, 8)
    return np.array(value, np.float64)


def _check(value: Any, levels: int) -> None:
    if isinstance(value, list | tuple):
        if not levels:
            raise ValueError("lists are nested too deeply")
        for one in value:
            if type(one) is not float:  # most are
                _check(one, levels - 1)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected numbers, found {short(value)}")


def short(value: Any) -> str:
    """What a value is, in a few characters, for a message."""
    names = {type(None): "null", dict: "a mapping", list: "a list"}
    text = names.get(type(value)) or repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
