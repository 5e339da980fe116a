"""Gathers what is wrong in a data set's files, so that one error tells all of it."""

from collections.abc import Hashable
from typing import final

from isosweep.errors import InputError

SHOWN = 12
"""Problems that an error spells out, at most."""


@final
class Problems:
    """The problems found so far, each told once."""

    def __init__(self) -> None:
        self._found: dict[Hashable, str] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, text: str, about: Hashable = None) -> None:
        """Note a problem. Of several with the same ``about``, the first is told: many frames share one value."""
        self._found.setdefault(text if about is None else about, text)

    def check(self) -> None:
        """Raise InputError with everything that was noted; nothing happens where that is nothing."""
        texts = list(self._found.values())
        if not texts:
            return
        if len(texts) == 1:
            raise InputError(texts[0])
        more = [f"... and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
        raise InputError("\n- ".join([f"{len(texts)} problems:", *texts[:SHOWN], *more]))
