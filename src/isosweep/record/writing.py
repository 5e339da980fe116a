"""JSON of runs' files that is always written: what JSON or UTF-8 cannot hold becomes text.

A record says how a run ended. So it is not lost because the name of an image is not UTF-8, or a setting has a number
of 5000 digits.
"""

from typing import Any

import msgspec

from isosweep.runtime.text import as_text

_MOST = 10**4000
"""Python writes no number of more than 4300 decimal digits."""


def encoded(value: Any) -> bytes:
    """The value as JSON. Halves of surrogate pairs become escapes (`isosweep.runtime.text.as_text`)."""
    try:
        return msgspec.json.encode(value)
    except (ValueError, OverflowError):
        return msgspec.json.encode(writable(msgspec.to_builtins(value)))


def writable(value: Any) -> Any:
    """The value with all that JSON, or a tracker that sends JSON, cannot hold as text."""
    if isinstance(value, dict):
        return {writable(key): writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [writable(item) for item in value]
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, int) and not -_MOST < value < _MOST:
        return f"{value:#x}"
    return value
