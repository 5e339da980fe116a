"""Where the time of real training steps goes on a CPU: by phase, with one thread and with several.

The loop itself is run, not a copy of it, so that nothing is left out. What gains nothing from a second thread is the
serial part, which bounds every number of cores (Amdahl 1967).
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from isosweep.bench.quality import Training, demo_training
from isosweep.training import loop

REST = "loss, batch, Python"
"""The phase of all that is in none of the others."""


@dataclass(frozen=True)
class Phases:
    """Seconds per step, by phase; together they are the whole step."""

    seconds: dict[str, float]
    samples: float
    """Per step."""

    @property
    def step(self) -> float:
        return sum(self.seconds.values())


def serial_share(one: float, several: float, threads: int) -> float:
    """The share s of the work that only one thread does, from T_n / T_1 = s + (1 - s) / n (Amdahl 1967).

    Args:
        one, several: seconds with one thread and with ``threads``.
    """
    return max(0.0, (several / one * threads - 1) / (threads - 1))


def train_phases(conf: Path, overrides: Sequence[str], steps: int, after: int, threads: int) -> Phases:
    """Train on the demo with ``threads`` threads, and time ``steps`` steps after ``after`` others."""
    torch.set_num_threads(threads)
    last = after + steps
    job = demo_training(
        conf, torch.device("cpu"), overrides, max_steps=last + 1, val_every=0, log_every=last + 1
    )
    spent, samples = defaultdict[str, float](float), defaultdict[str, float](float)
    marks: list[float] = []  # of the beginning and of the end: between them it is timed

    def mark() -> None:
        marks.append(time.perf_counter())

    def on() -> bool:
        return len(marks) == 1

    with ExitStack() as stack:
        for owner, name, phase in _watched(job):
            stack.enter_context(_timed(owner, name, phase, spent, on))
        stack.enter_context(_counted(job, samples, on))
        job.run(at={after: mark, last: mark})
    whole = (marks[1] - marks[0]) / steps
    found = {phase: value / steps for phase, value in spent.items()}
    return Phases({**found, REST: whole - sum(found.values())}, samples["n"] / steps)


def _watched(job: Training) -> list[tuple[Any, str, str]]:
    return [
        (job.model, "update", "occupancy grid"),
        (job.model, "sample", "marching"),
        (job.model, "render", "field and compositing, forward"),
        (torch.Tensor, "backward", "backward"),
        (job.state.optimizer, "step", "optimiser"),
        (loop, "draw", "batch"),
    ]


@contextmanager
def _timed(
    owner: Any, name: str, phase: str, spent: defaultdict[str, float], on: Callable[[], bool]
) -> Iterator[None]:
    original: Callable[..., Any] = getattr(owner, name)

    def measured(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = original(*args, **kwargs)
        if on():
            spent[phase] += time.perf_counter() - start
        return result

    with mock.patch.object(owner, name, measured):
        yield


@contextmanager
def _counted(job: Training, samples: defaultdict[str, float], on: Callable[[], bool]) -> Iterator[None]:
    render = job.model.render

    def counting(rays: Any, sampled: Any, *args: Any, **kwargs: Any) -> Any:
        if on():
            samples["n"] += len(sampled.samples)
        return render(rays, sampled, *args, **kwargs)

    with mock.patch.object(job.model, "render", counting):
        yield
