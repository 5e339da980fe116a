"""How far a run is. Whatever takes long tells it here, and whoever shows it listens here."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from isosweep.runtime import interrupts

T = TypeVar("T")

TRAINING = "training"
"""What the training loop says that it does; it logs its steps itself."""


@dataclass(frozen=True)
class Progress:
    """One part of a run's work, and how much of it is done."""

    what: str
    """In words: 'training', 'scoring views'."""
    done: int = 0
    total: int = 0
    """0 where it is not known beforehand."""
    left_s: float | None = None
    """Seconds until this part is over; None while nothing is known."""
    rays_per_s: float | None = None
    val_psnr: float | None = None
    """Of a validation that has just been made, in dB."""


Listener = Callable[[Progress], None]
_listeners: list[Listener] = []


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Have ``listener`` called with all that is told inside the ``with`` statement."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def unheard() -> Iterator[None]:
    """Have nobody called with what is told inside the ``with`` statement: it is a detail of another part."""
    held = _listeners[:]
    _listeners.clear()
    try:
        yield
    finally:
        _listeners.extend(held)


def clock(seconds: float) -> str:
    """Minutes and seconds: '3:07'."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def tell(progress: Progress) -> None:
    """Call whoever listens. Without a listener it costs nothing."""
    for listener in _listeners:
        listener(progress)


def through(items: Sequence[T], what: str) -> Iterator[T]:
    """The items one by one, telling how far it is.

    Raises:
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    began, total = time.monotonic(), len(items)
    for done, item in enumerate(items):
        interrupts.check()
        left = (time.monotonic() - began) / done * (total - done) if done else None
        tell(Progress(what, done, total, left))
        yield item
    tell(Progress(what, total, total, 0.0))
