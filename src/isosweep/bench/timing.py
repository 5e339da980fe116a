"""Times several implementations of one task alternately, so that a busy machine slows all of them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Case:
    """One task at one size, and its implementations."""

    name: str
    size: str
    ways: Mapping[str, Callable[[], object]]
    """Name -> function to time. One call does the task ``turns`` times. The first is ours, to which others compare."""
    bytes_moved: float | None = None
    """Bytes of table rows that doing the task once moves; the report compares the rate with random gathers."""
    flops: float | None = None
    """Floating-point operations of the task's matrix products; the report compares the rate with the peak."""
    memory: float | None = None
    """MiB that one call of the first implementation allocates, besides the model and the optimiser."""
    turns: int = 1
    """How often one call does the task. Measured times are divided by it."""


@dataclass(frozen=True)
class Timing:
    """The best and the median of the repeats, in seconds per turn."""

    best: float
    median: float


@dataclass(frozen=True)
class Measurement:
    """The times of all implementations of a case, by name."""

    case: Case
    times: Mapping[str, Timing] = field(default_factory=dict)

    def ratio(self, way: str) -> float:
        """How many times as long ``way`` takes as the first, by the medians."""
        return self.times[way].median / self.times[next(iter(self.times))].median


def measure(case: Case, repeats: int, device: torch.device, least_s: float = 0.05) -> Measurement:
    """Warm every implementation up, time one call to choose the calls per round, then time ``repeats`` rounds of all.

    One that takes less than ``least_s`` seconds is called several times a round, so that the clock's resolution
    does not matter.
    """
    calls: dict[str, int] = {}
    for name, way in case.ways.items():
        way()
        calls[name] = max(1, int(least_s / max(_seconds(way, 1, device), 1e-9)))
    rounds: dict[str, list[float]] = {name: [] for name in case.ways}
    for _ in range(repeats):
        for name, way in case.ways.items():
            rounds[name].append(_seconds(way, calls[name], device) / calls[name] / case.turns)
    times = {name: Timing(min(s), sorted(s)[len(s) // 2]) for name, s in rounds.items()}
    return Measurement(case, times)


def _seconds(way: Callable[[], object], calls: int, device: torch.device) -> float:
    wait(device)
    began = time.perf_counter()
    for _ in range(calls):
        way()
    wait(device)
    return time.perf_counter() - began


def wait(device: torch.device) -> None:
    """Wait until the device has finished all work that was queued on it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
