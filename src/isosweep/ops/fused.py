"""Networks without biases, which tiny-cuda-nn computes in one kernel under backend 'tcnn'.

h_k = activation(W_k h_{k-1}) and a linear last layer; the activation is ReLU, or log(1 + exp(beta x)) / beta.
Parameters are ours, in float32 and in the layout of PyTorch's layers. For a call they are padded and put one behind
the other as tiny-cuda-nn has them; it rounds them to half precision and computes in it. So a checkpoint can be
evaluated with any backend: elsewhere PyTorch computes the same layers, in the precision of their input.

Axes: S rows, I inputs, O outputs, W width, P numbers of tiny-cuda-nn.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from isosweep.errors import InputError
from isosweep.ops.softplus import softplus_with_slope

FUSED = ("FullyFusedMLP", "CutlassMLP")
"""tiny-cuda-nn's two kinds, by their own names."""
WIDTHS = (16, 32, 64, 128)
"""Of a FullyFusedMLP."""
ALIGNMENT = 16
"""Inputs and outputs are padded to a multiple of this."""
SHARPNESS = 10.0
"""beta of tiny-cuda-nn's softplus, a constant of its build."""


def check(kind: str, width: int, n_hidden: int, where: str) -> None:
    """Check that tiny-cuda-nn has a network of this kind and size.

    Args:
        where: the key of the kind in the config, for the message.

    Raises:
        InputError: it has none.
    """
    if kind not in FUSED:
        raise InputError(f"{where} is one of layers, {', '.join(FUSED)}, found {kind!r}")
    if n_hidden < 1:
        raise InputError(f"{where}={kind} has at least one hidden layer, found n_hidden={n_hidden}")
    if kind == "FullyFusedMLP" and width not in WIDTHS:
        raise InputError(
            f"{where}=FullyFusedMLP has hidden layers of {', '.join(map(str, WIDTHS))} units, found {width}: use one "
            "of them, or CutlassMLP"
        )
    if width % 8:
        raise InputError(f"{where}={kind} has hidden layers of a multiple of 8 units, found {width}")


def plain(x: Float[Tensor, "s i"], weights: Sequence[Tensor], beta: float | None) -> Float[Tensor, "s o"]:
    """The definition, in PyTorch."""
    for weight in weights[:-1]:
        x = F.linear(x, weight)
        x = torch.relu(x) if beta is None else softplus_with_slope(x, beta)[0]
    return F.linear(x, weights[-1])


def packed(weights: Sequence[Tensor], beta: float | None) -> Float[Tensor, " p"]:
    """tiny-cuda-nn's parameters of a network: its matrices by rows, from the first layer to the last.

    The first has columns, and the last has rows, of 0 up to a multiple of ``ALIGNMENT``. tiny-cuda-nn sets the padding
    of an input to 1, so what the columns hold matters. softplus_beta(x) = softplus_b(s x) / s with s = beta / b: a
    sharpness other than tiny-cuda-nn's is a factor s on the first layer and 1 / s on the last.
    """
    s = 1.0 if beta is None else beta / SHARPNESS
    first = F.pad(s * weights[0], (0, -weights[0].shape[1] % ALIGNMENT))
    last = F.pad(weights[-1] / s, (0, 0, 0, -weights[-1].shape[0] % ALIGNMENT))
    return torch.cat([matrix.reshape(-1) for matrix in (first, *weights[1:-1], last)])


def with_tcnn(
    x: Float[Tensor, "s i"], weights: Sequence[Tensor], kind: str, beta: float | None
) -> Float[Tensor, "s o"]:
    """The same by tiny-cuda-nn in half precision; returned in the precision of ``x``, differentiable once.

    Raises:
        InputError: this tiny-cuda-nn lays a network out in another way.
    """
    if not len(x):
        return plain(x, weights, beta)
    width, inputs = weights[0].shape
    sizes = (inputs, weights[-1].shape[0], width, len(weights) - 1)
    module = _network(kind, sizes, "ReLU" if beta is None else "Softplus", x.device)
    out = torch.func.functional_call(module, {"params": packed(weights, beta)}, (x,))
    return out.to(x.dtype)


@lru_cache(maxsize=16)
def _network(kind: str, sizes: tuple[int, int, int, int], activation: str, device: torch.device) -> nn.Module:
    """tiny-cuda-nn's module of a network (inputs, outputs, width, hidden layers); its own parameters are never used."""
    inputs, outputs, width, n_hidden = sizes
    config = {
        "otype": kind,
        "activation": activation,
        "output_activation": "None",
        "n_neurons": width,
        "n_hidden_layers": n_hidden,
    }
    with torch.cuda.device(device) if device.type == "cuda" else torch.device(device):
        import tinycudann  # pyright: ignore[reportMissingImports]

        module = tinycudann.Network(n_input_dims=inputs, n_output_dims=outputs, network_config=config)
    found = next(module.parameters()).numel()
    padded = [math.ceil(n / ALIGNMENT) * ALIGNMENT for n in (inputs, outputs)]
    expected = width * (sum(padded) + (n_hidden - 1) * width)
    if found != expected:
        raise InputError(
            f"this tiny-cuda-nn lays a {kind} of {inputs}, {n_hidden} times {width} and {outputs} units out in {found} "
            f"numbers, isosweep in {expected}: use network=layers, and report both versions"
        )
    return module
