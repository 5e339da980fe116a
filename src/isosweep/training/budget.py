"""A share of the time of a training, for what only looks at it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

EARLY = 0.8
"""Part of the share that may be planned with before the end is there: the first steps are slower than the others, so a
training takes less time than they foretell."""


class Budget:
    """Counts what has been spent of a share of a training's time.

    Args:
        share: of the time from now to the training's end, which it may take.
        step: steps done by now.
        max_steps: steps done at the end.
    """

    def __init__(self, share: float, step: int, max_steps: int) -> None:
        self.share, self._first, self._last = share, step, max_steps
        self._began = time.perf_counter()
        self.spent = 0.0
        """Seconds."""

    def left(self, step: int) -> float:
        """Seconds that may still be spent, in the whole training, at the pace of the steps so far."""
        elapsed, done = time.perf_counter() - self._began, max(step - self._first, 1)
        if step >= self._last:
            return self.share * elapsed - self.spent
        return EARLY * self.share * elapsed * (self._last - self._first) / done - self.spent

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count the time of the block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent += time.perf_counter() - began
