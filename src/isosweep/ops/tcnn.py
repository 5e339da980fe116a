"""tiny-cuda-nn's hash grid behind the same interface: backend 'tcnn'.

Its encoding gives features and the table's gradient; it has no explicit Jacobian, so that, marching
and compositing are the Triton kernels. The table is the same parameter in the same layout
(``GridSpec``), in float32, so checkpoints move between all backends. nerfacc's compositing is not
used: its gradient divides by 1 - alpha, ours is exact at 1.
"""

import sys
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from isosweep.errors import InputError
from isosweep.ops import composed
from isosweep.ops.composed import Layer
from isosweep.ops.grid_spec import GridSpec
from isosweep.ops.triton import backend as cuda
from isosweep.ops.triton.backend import (
    accumulate,
    density_alpha,
    grid_encode_jacobian,
    march,
    mlp,
    pullback,
    render_weights,
    sample_points,
    softplus_backward,
    surface_sections,
    visible,
)

__all__ = [
    "accumulate",
    "density_alpha",
    "grid_encode",
    "grid_encode_jacobian",
    "march",
    "mlp",
    "pullback",
    "render_weights",
    "sample_points",
    "softplus_backward",
    "surface_network",
    "surface_sections",
    "visible",
    "warm_up",
]

FEATURES = (1, 2, 4, 8)
"""Features of a row that tiny-cuda-nn is built for."""


def grid_encode(u: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    """See ``isosweep.ops.grid_encode``."""
    if u.dtype != torch.float32:
        raise InputError(f"backend 'tcnn' computes in float32, got {u.dtype}: convert it, or backend=cuda")
    if not len(u):
        return cuda.grid_encode(u, table, spec)
    parameters = {"params": table.reshape(-1)}
    return torch.func.functional_call(_encoding(spec, u.device), parameters, (u.detach(),))


def surface_network(
    u: Tensor, table: Tensor, spec: GridSpec, hidden: Layer, head: Layer, beta: float, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """See ``isosweep.ops.surface_network``."""
    module = sys.modules[__name__]
    return composed.surface_network(module, u, table, spec, hidden, head, beta, want_gradient)


@lru_cache(maxsize=16)
def _encoding(spec: GridSpec, device: torch.device) -> nn.Module:
    """tiny-cuda-nn's module of a layout; its own parameters are never used.

    Errors: ValueError where it has no such layout, or lays the table out in another way.
    """
    if spec.n_features not in FEATURES:
        raise InputError(
            f"tiny-cuda-nn has 1, 2, 4 or 8 features a row, got {spec.n_features}: "
            "change encoding.n_features, or use backend=cuda"
        )
    square = spec.resolution.astype(object) ** 2
    overflows = [
        int(r)
        for r, q, size in zip(spec.resolution, square, spec.size, strict=True)
        if q & (q - 1) == 0 and q <= size and q * int(r) >= 2**32
    ]
    if overflows:
        raise InputError(
            f"tiny-cuda-nn's index overflows at resolution {overflows[0]} and ignores one axis: "
            "change encoding.per_level_scale, or use backend=cuda"
        )
    config = {
        "otype": "HashGrid",
        "n_levels": spec.n_levels,
        "n_features_per_level": spec.n_features,
        "log2_hashmap_size": spec.log2_size,
        "base_resolution": spec.base_resolution,
        "per_level_scale": spec.per_level_scale,
    }
    with torch.cuda.device(device) if device.type == "cuda" else torch.device(device):
        module = _bindings().Encoding(n_input_dims=3, encoding_config=config, dtype=torch.float32)
    found = next(module.parameters()).numel()
    if found != spec.total * spec.n_features:
        raise InputError(
            f"this tiny-cuda-nn lays the grid out in {found} numbers, isosweep in "
            f"{spec.total * spec.n_features}: use backend=cuda, and report both versions"
        )
    return module


def _bindings() -> Any:
    """The module tinycudann: no type checker knows it, and only a card can import it."""
    import importlib

    bindings: ModuleType = importlib.import_module("tinycudann")
    return bindings


def warm_up() -> None:
    cuda.warm_up()
