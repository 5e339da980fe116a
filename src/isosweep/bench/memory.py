"""Memory that a training step needs beyond model and optimiser, each size in a process of its own."""

import multiprocessing
import re
import resource
import sys
from pathlib import Path

import torch


def step_mebibytes(conf: Path, device: torch.device, samples: int, overrides: list[str]) -> float:
    """MiB between the peak of two rounds of steps and what was there once the model was built.

    A peak falls never, so every size is measured in a fresh process.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (conf, str(device), samples, overrides))


def _measure(conf: Path, device: str, samples: int, overrides: list[str]) -> float:
    from isosweep import ops
    from isosweep.bench.steps import training_steps

    where = torch.device(device)
    ops.use("auto", where)
    steps = training_steps(conf, where, samples, overrides)
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
