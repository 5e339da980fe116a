"""Waiting for what another thread, process or program does, however slow the machine is."""

import time
from collections.abc import Callable


def until(
    what: Callable[[], object], seconds: float = 120.0, pause: float = 0.05, told: Callable[[], object] = str
) -> None:
    """``what()`` becomes true; fails after ``seconds``, with what ``told()`` says then."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"not within {seconds:g} s: {told()}"
        time.sleep(pause)
