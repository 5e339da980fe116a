"""Tensors and grid layouts as the numba kernels take them."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from isosweep.ops.grid_spec import GridSpec


def array(x: Tensor) -> np.ndarray:
    """The tensor as a C-contiguous array, without a copy if it is contiguous."""
    if x.device.type != "cpu":
        raise ValueError(
            f"backend 'cpu' is in use, but a tensor lies on '{x.device}': "
            "select the backend for the device, isosweep.ops.use('auto', device)"
        )
    if x.is_floating_point() and x.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"backend 'cpu' computes in float32 or float64, got {x.dtype}: convert it, or backend=torch"
        )
    return x.detach().contiguous().numpy()


def scalar(like: Tensor, value: float) -> np.floating:
    """``value`` in the precision of ``like``."""
    return np.float64(value) if like.dtype == torch.float64 else np.float32(value)


@lru_cache(maxsize=16)
def layout(spec: GridSpec) -> tuple[np.ndarray, ...]:
    """GridSpec's arrays in the kernels' types."""
    integers = (spec.resolution, spec.size, spec.offset)
    return (spec.scale, *(x.astype(np.uint32) for x in integers), spec.dense)


@lru_cache(maxsize=16)
def order(spec: GridSpec) -> np.ndarray:
    """The levels from the largest to the smallest, so that threads get equal work when they are dealt out."""
    return np.argsort(-spec.size, kind="stable")
