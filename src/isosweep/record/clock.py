"""Measures the durations of a run in seconds, summed over its attempts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec

from isosweep.errors import InputError
from isosweep.record.schema import Times


class Clock:
    """Counts ``total_s`` from now on, and other durations in sections, on top of those of earlier attempts."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self._since = {"total_s": time.monotonic()}

    def total_s(self) -> float:
        """Seconds of this run so far, earlier attempts included."""
        return self._times.total_s + time.monotonic() - self._since["total_s"]

    def read(self) -> Times:
        """All durations up to now; open sections count up to now, too."""
        now = time.monotonic()
        sums = {name: getattr(self._times, name) + now - since for name, since in self._since.items()}
        self._since = dict.fromkeys(self._since, now)
        self._times = msgspec.structs.replace(self._times, updated=utc_now(), **sums)
        return self._times

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Add the block's wall-clock seconds to the field ``name`` of Times. Raises ValueError for an unknown field."""
        known = [field for field in Times.__struct_fields__ if field.endswith("_s") and field != "total_s"]
        if name not in known:
            raise InputError(f"a record has no duration {name!r}; it has {', '.join(known)}")
        self._since[name] = time.monotonic()
        try:
            yield
        finally:
            self.read()
            del self._since[name]

    @contextmanager
    def instead(self, name: str, of: str) -> Iterator[None]:
        """As ``section``; meanwhile the field ``of``, whose section is open, does not count."""
        self.read()
        stopped = self._since.pop(of, None)
        try:
            with self.section(name):
                yield
        finally:
            if stopped is not None:
                self._since[of] = time.monotonic()


def utc_now() -> str:
    """The current time in UTC, as ISO 8601 text to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def seconds_since(text: str | None) -> float:
    """Seconds since a time of `utc_now`, on any machine; 0 where there is none, or the clocks disagree."""
    if not text:
        return 0.0
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds())
