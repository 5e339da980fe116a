"""Measures the memory that a piece of work needs, in a process of its own."""

import multiprocessing
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def work_mebibytes(
    build: Callable[..., Callable[[], object]], arguments: tuple[Any, ...], device: torch.device
) -> float:
    """MiB by which the work ``build(*arguments)``, called twice, raises the peak memory over what building it took.

    A peak never falls, so each measurement takes a fresh process. ``build`` must be a function of a module, because
    the process imports it by name.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (build, arguments, device))


def _measure(
    build: Callable[..., Callable[[], object]], arguments: tuple[Any, ...], device: torch.device
) -> float:
    work = build(*arguments)
    before = _peak_bytes(device)
    for _ in range(2):
        work()
    return (_peak_bytes(device) - before) / 2**20


def _peak_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage's maximum outlives exec, so that a child process would start at its parent's peak
        return 1024 * int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1])  # pyright: ignore[reportOptionalSubscript]
    import resource  # not on Windows, where this cannot be measured

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
