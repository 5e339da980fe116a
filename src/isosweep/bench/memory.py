"""Memory that a training step needs beyond model and optimiser, each size in a process of its own."""

import multiprocessing
import re
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from isosweep import ops


@runtime_checkable
class MakeSteps(Protocol):
    """A function of a module, so that a fresh process can import it: it builds a model and returns its steps."""

    def __call__(
        self, conf: Path, device: torch.device, samples: int, overrides: Sequence[str]
    ) -> Callable[[], None]: ...


def step_mebibytes(
    make_steps: MakeSteps, conf: Path, device: torch.device, samples: int, overrides: list[str]
) -> float:
    """MiB between the peak of two rounds of steps and what was there once the model was built.

    A peak falls never, so every size is measured in a fresh process.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (make_steps, conf, str(device), samples, overrides))


def _measure(make_steps: MakeSteps, conf: Path, device: str, samples: int, overrides: list[str]) -> float:
    where = torch.device(device)
    ops.use("auto", where)
    steps = make_steps(conf, where, samples, overrides)
    before = _peak_bytes(where)
    for _ in range(2):
        steps()
    return (_peak_bytes(where) - before) / 2**20


def _peak_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        # not getrusage: its maximum outlives exec, so a child would start at its parent's peak
        return 1024 * int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1])  # pyright: ignore[reportOptionalSubscript]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
