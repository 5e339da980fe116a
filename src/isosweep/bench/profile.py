"""Where the time of training steps goes on a card: kernels, launches, copies to the host, and waiting.

A step cannot be faster than its kernels. What a card spends beyond them it waits, for launches or for a value that the
host has read back.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from isosweep.bench.timing import wait

LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx")
"""Names under which the profiler lists the launch of a kernel, by torch and by Triton."""


@dataclass(frozen=True)
class Profile:
    """The mean of some training steps. Times are in ms per step."""

    wall: float
    """Under the profiler, which slows the host."""
    busy: float
    """During which the card works; None of it is counted twice."""
    launches: float
    """Kernels launched per step."""
    host_reads: float
    """Copies from the card to the host per step; each of them waits for the card."""
    longest: tuple[tuple[str, float], ...]
    """The kernels, or operations on a CPU, that take most time: name, ms per step."""

    @property
    def idle_share(self) -> float:
        """Share of the time in which the card waits."""
        return max(0.0, 1 - self.busy / self.wall)


def profile_steps(work: Callable[[], object], turns: int, device: torch.device, n: int = 10) -> Profile:
    """Profile one call of ``work``, which does ``turns`` steps, after another that warms it up.

    Args:
        work: such as ``training_steps`` makes.
        device: the card, or the CPU. On a CPU there are no launches, and it is always busy.
        n: how many of the longest kernels are kept.
    """
    on_card = device.type == "cuda"
    work()
    wait(device)
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    with profile(activities=kinds) as measured:
        work()
        wait(device)
    events: Any = measured.events()
    began = min(e.time_range.start for e in events)
    wall = max(e.time_range.end for e in events) - began
    if not on_card:
        spent = Counter()
        for event in events:
            spent[event.name] += event.self_cpu_time_total
        return Profile(_ms(wall, turns), _ms(wall, turns), 0.0, 0.0, _longest(spent, n, turns))
    on_device = [e for e in events if e.device_type.name == "CUDA"]
    spent = Counter()
    for event in on_device:
        spent[event.name] += event.time_range.elapsed_us()
    return Profile(
        wall=_ms(wall, turns),
        busy=_ms(covered([(e.time_range.start, e.time_range.end) for e in on_device]), turns),
        launches=sum(e.name in LAUNCHES for e in events) / turns,
        host_reads=sum("DtoH" in e.name for e in on_device) / turns,
        longest=_longest(spent, n, turns),
    )


def covered(intervals: list[tuple[float, float]]) -> float:
    """The length of the union of intervals (start, end), in their unit."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _ms(microseconds: float, turns: int) -> float:
    return microseconds / 1e3 / turns


def _longest(spent: Counter, n: int, turns: int) -> tuple[tuple[str, float], ...]:
    return tuple((name, _ms(us, turns)) for name, us in spent.most_common(n) if us > 0)
