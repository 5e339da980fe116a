"""Seconds of several ways to do the same thing, taken in turns so that a busy machine slows all alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Case:
    """One thing to do, at one size."""

    name: str
    size: str
    ways: Mapping[str, Callable[[], object]]
    """Name -> callable that does it once; the first is ours, the others are compared with it."""
    bytes_moved: float | None = None
    """Least traffic to memory of one call, for the share of the measured bandwidth."""
    flops: float | None = None
    """Of the matrix products of the first way's turn, for its share of the measured peak."""
    memory: float | None = None
    """MiB that a turn of the first way needs beyond model and optimiser."""
    turns: int = 1
    """What one call does so many times over; times are a turn's."""


@dataclass(frozen=True)
class Timing:
    """Best and middle of the repeats, seconds a call."""

    best: float
    median: float


@dataclass(frozen=True)
class Measurement:
    case: Case
    times: Mapping[str, Timing] = field(default_factory=dict)

    def ratio(self, way: str) -> float:
        """How many times as long ``way`` takes as the first, by the medians."""
        return self.times[way].median / self.times[next(iter(self.times))].median


def measure(case: Case, repeats: int, device: torch.device, least_s: float = 0.05) -> Measurement:
    """Run every way once to warm it up, then ``repeats`` rounds of all of them.

    A way that is quicker than ``least_s`` is called several times a round, so that the clock's
    resolution does not count.
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
    """Until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
