"""Waiting for what another thread or process does, however slow the machine is."""

import time
from collections.abc import Callable


def until(what: Callable[[], object], seconds: float = 120.0) -> None:
    """``what()`` becomes true; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.02)
