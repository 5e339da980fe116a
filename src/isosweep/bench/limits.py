"""Measures what this machine can do at best: the bounds that kernels are compared with."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from isosweep.bench.timing import wait


@dataclass(frozen=True)
class MachineLimits:
    """Highest measured rates of a device."""

    flops: float
    """FLOP/s of a float32 matrix product."""
    bandwidth: float
    """Bytes/s of copying a large array, read and written bytes together."""
    gathers: float
    """Rows/s of gathering random 8-byte rows from a table of 4 MiB."""
    far_gathers: float
    """Rows/s of gathering random 8-byte rows from a table of 64 MiB."""

    def __str__(self) -> str:
        return (
            f"sgemm {self.flops / 1e9:.0f} GFLOP/s, copy {self.bandwidth / 1e9:.1f} GB/s, random 8-byte rows "
            f"{self.gathers / 1e6:.0f} M/s from 4 MiB and {self.far_gathers / 1e6:.0f} M/s from 64 MiB"
        )


def measure_limits(device: torch.device, quick: bool = False) -> MachineLimits:
    """Measure each rate five times and take the best. It takes some seconds.

    Args:
        quick: multiply and copy little, which takes no time; caches make the rates too high then.
    """
    n = 256 if quick else 2048
    a, b = torch.rand(2, n, n, device=device)
    source = torch.rand(1 << (20 if quick else 26), device=device)
    target = torch.empty_like(source)
    copy_s = _best(lambda: target.copy_(source), device)
    return MachineLimits(
        flops=2 * n**3 / _best(lambda: a @ b, device),
        bandwidth=2 * source.numel() * 4 / copy_s,
        gathers=_gathers(1 << 19, device),
        far_gathers=_gathers(1 << 23, device),
    )


def _gathers(rows: int, device: torch.device) -> float:
    table = torch.rand(rows, 2, device=device)
    index = torch.randint(rows, (1 << 21,), device=device)
    return len(index) / _best(lambda: table.index_select(0, index), device)


def _best(work: Callable[[], object], device: torch.device) -> float:
    seconds = []
    for _ in range(6):
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
