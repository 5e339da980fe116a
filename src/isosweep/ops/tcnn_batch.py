"""The functions of ``ops/batch.py`` under backend 'tcnn': two are tiny-cuda-nn's encodings, the rest Triton kernels.

Spherical harmonics and sines have no parameters, so what changes is the speed, and the last digits: tiny-cuda-nn's
sines are the card's fast ones, whose error grows with the angle, to about 1e-3 at NeRF's ten octaves. A point that asks
for a gradient takes the definition, which can be differentiated as often as a loss wants.
"""

import importlib
from functools import lru_cache
from math import pi
from typing import Any

import torch
from torch import Tensor, nn

from isosweep.ops import batch
from isosweep.ops.triton import batch_backend
from isosweep.ops.triton.batch_backend import box_hit, gather_pixels, over, pixel_places, pixel_rays

__all__ = [
    "box_hit",
    "gather_pixels",
    "over",
    "pixel_places",
    "pixel_rays",
    "spherical_harmonics",
    "waves",
]


def spherical_harmonics(dirs: Tensor, degree: int) -> Tensor:
    """See ``isosweep.ops.spherical_harmonics``. tiny-cuda-nn takes (d + 1) / 2, which lies in [0, 1]."""
    if not _takes(dirs):
        return batch_backend.spherical_harmonics(dirs, degree)
    with torch.no_grad():  # else the result asks for the gradient of no parameters
        return _encoding("SphericalHarmonics", 3, degree, dirs.device)((dirs + 1) / 2)


def waves(x: Tensor, bands: Tensor, scale: float) -> Tensor:
    """See ``isosweep.ops.waves``.

    tiny-cuda-nn computes sin(2^k pi x) and cos(2^k pi x), one after the other for each octave of a coordinate.
    """
    if not _takes(x) or not len(bands):
        return batch.waves(x, bands, scale)
    module = _encoding("Frequency", x.shape[1], len(bands), x.device)
    with torch.no_grad():
        pairs = module(x * (scale / pi)).unflatten(-1, (x.shape[1], len(bands), 2))
        return pairs.movedim(-1, 1).flatten(1)


def _takes(x: Tensor) -> bool:
    """Whether tiny-cuda-nn computes it: rows in float32 on a card, and no gradient is asked for."""
    wanted = torch.is_grad_enabled() and x.requires_grad
    return x.dtype == torch.float32 and len(x) > 0 and not wanted and _on_card(x)


def _on_card(x: Tensor) -> bool:
    return x.is_cuda


@lru_cache(maxsize=16)
def _encoding(otype: str, dims: int, size: int, device: torch.device) -> nn.Module:
    """tiny-cuda-nn's module, in float32: ``size`` is the degree, or the number of octaves."""
    bindings: Any = importlib.import_module("tinycudann")
    config = {"otype": otype, {"SphericalHarmonics": "degree", "Frequency": "n_frequencies"}[otype]: size}
    with torch.cuda.device(device) if device.type == "cuda" else torch.device(device):
        return bindings.Encoding(n_input_dims=dims, encoding_config=config, dtype=torch.float32)
