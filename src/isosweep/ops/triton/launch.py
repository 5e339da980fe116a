"""How the Triton backend launches a kernel, and what it accepts as its arguments."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from isosweep.ops.triton import grid as triton_grid


def launch(kernel: Any, grid: tuple[int, ...], *args: object, **constants: object) -> None:
    """Run a kernel over a grid of programs, none where the grid is empty, on the tensors' card."""
    run(kernel, grid, *args, **constants)


def run(kernel: Any, grid: tuple[int, ...], *args: object, **constants: object) -> None:
    """What ``launch`` does. It looks this name up at every call, so that launches can be counted here."""
    if 0 in grid:
        return
    tensor = next(x for x in args if isinstance(x, Tensor))
    with torch.cuda.device_of(tensor):
        kernel[grid](*args, **constants, num_warps=4, enable_fp_fusion=False)


def checked(x: Tensor) -> Tensor:
    """Contiguous, in a precision that the kernels have."""
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"backend 'cuda' computes in float32 or float64, got {x.dtype}: convert it, or backend=torch"
        )
    if x.device.type != "cuda" and not interpreted():
        raise ValueError(
            f"backend 'cuda' is in use, but a tensor lies on '{x.device}': "
            "select the backend for the device, isosweep.ops.use('auto', device)"
        )
    return x.detach().contiguous()


def interpreted() -> bool:
    """Whether Triton's interpreter stands in for a card (TRITON_INTERPRET=1 when Triton was imported)."""
    return type(triton_grid.encode).__name__ == "InterpretedFunction"


@lru_cache(maxsize=64)
def numbers(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Values on the card; the same as in the step before are there already."""
    return torch.tensor(values, dtype=dtype, device=device)


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()
