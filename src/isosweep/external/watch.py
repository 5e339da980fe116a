"""What a method prints, read by the regular expressions of its config: how far it is, and its own measurements."""

import math
import re
import time
from collections.abc import Callable, Mapping

from isosweep.config.method_settings import WatchSettings
from isosweep.runtime.progress import Progress, tell

LOG_S = 1.0
"""Seconds between two logged values of one name, so that a method that prints every step does not fill the log."""


class Watch:
    """Reads lines and tells of progress and metrics.

    Args:
        steps: of the whole training, where a line does not say it.
        on_step: is called with each new step.
        on_metrics: is called with a step and the values of a line.
    """

    def __init__(
        self,
        settings: WatchSettings,
        what: str,
        steps: int,
        on_step: Callable[[int], None],
        on_metrics: Callable[[int, Mapping[str, float]], None],
    ) -> None:
        self._what, self._steps, self._on_step, self._on_metrics = what, steps, on_step, on_metrics
        self._progress = None if settings.progress is None else re.compile(settings.progress)
        self._metrics = {name: re.compile(pattern) for name, pattern in settings.metrics.items()}
        self._began, self._first, self._logged = time.monotonic(), -1, dict.fromkeys(self._metrics, -math.inf)
        self.step = 0
        self.lines = 0
        self.read = 0
        """Lines in which the progress was found."""

    def __call__(self, line: str) -> None:
        """Read one line."""
        self.lines += 1
        if self._progress is not None and (found := self._progress.search(line)) is not None:
            self.read += 1
            groups = found.groupdict()
            self._at(_whole(groups["step"]), _whole(groups.get("total")) or self._steps)
        values = {}
        now = time.monotonic()
        for name, pattern in self._metrics.items():
            found = pattern.search(line)
            value = math.nan if found is None else _number(found[1])
            if math.isfinite(value) and now - self._logged[name] >= LOG_S:
                values[name] = value
                self._logged[name] = now
        if values:
            self._on_metrics(self.step, values)

    def why_no_progress(self) -> str | None:
        """Why no progress was seen; None if some was, or none was sought."""
        if self._progress is None or self.read:
            return None
        printed = (
            f"none of the {self.lines} lines that it printed fits" if self.lines else "it printed nothing for"
        )
        return f"{printed} method.watch.progress={self._progress.pattern}"

    def _at(self, step: int, total: int) -> None:
        if self._first < 0:
            self._first, self._began = step, time.monotonic()
        if step > self.step:
            self.step = step
            self._on_step(step)
        done = step - self._first
        left = (time.monotonic() - self._began) / done * (total - step) if done > 0 else None
        tell(Progress(self._what, min(step, total), total, left))


def _whole(text: str | None) -> int:
    """A number of steps: '1,000' and '1000.0' are 1000, '12k' is 12000; 0 where it is none."""
    if text is None:
        return 0
    thousands = text.strip().lower().endswith("k")
    value = _number(text.strip().lower().removesuffix("k"))
    return int(value * (1000 if thousands else 1)) if math.isfinite(value) else 0


def _number(text: str | None) -> float:
    try:
        return float((text or "").replace(",", "").replace("_", ""))
    except ValueError:
        return math.nan
