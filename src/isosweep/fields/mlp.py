"""The fully connected network of the density and colour fields."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep import ops
from isosweep.errors import InputError
from isosweep.ops import fused


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` of any shape in float32 if autocast has made it half precision; float64 stays float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_network(network: str, hidden_dim: int, n_hidden: int, skips: Sequence[int]) -> str:
    """``network`` itself: 'layers', or a network that tiny-cuda-nn has.

    Raises:
        InputError: it has no such kind, or none of this size, or with skips.
    """
    if network != "layers":
        fused.check(network, hidden_dim, n_hidden, "network")
        if len(skips):
            raise InputError(
                f"network={network} has no skips, found skips={list(skips)}: set skips=[], or network=layers"
            )
    return network


class MLP(nn.Module):
    """h_k = relu(W_k h_{k-1} + b_k) for the hidden layers, then a linear output layer.

    Source: the networks of NeRF (Mildenhall et al. 2020, figure 7), with or without skip connections.

    Args:
        in_dim, out_dim: number of features of the input and of the output.
        hidden_dim, n_hidden: width and number of the hidden layers.
        skips: hidden layers, counted from 0, whose input is [output of the layer before, input of the network].
        weight_norm: parametrise weights by direction and norm (Salimans & Kingma 2016).
        network: 'layers', or one of tiny-cuda-nn's networks, 'FullyFusedMLP' and 'CutlassMLP', which have no biases and
            no skips (``ops.fused``).

    Raises:
        InputError: tiny-cuda-nn has no such network.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        hidden_dim: int,
        n_hidden: int,
        skips: Sequence[int] = (),
        weight_norm: bool = False,
        network: str = "layers",
    ) -> None:
        super().__init__()
        self.skips, self.network = frozenset(skips), check_network(network, hidden_dim, n_hidden, skips)
        bias = network == "layers"
        widths = [in_dim, *[hidden_dim] * n_hidden]
        self.hidden = nn.ModuleList(
            nn.Linear(width + (in_dim if k in self.skips else 0), hidden_dim, bias)
            for k, width in enumerate(widths[:-1])
        )
        self.head = nn.Linear(widths[-1], out_dim, bias)
        if weight_norm:
            for layer in [*self.hidden, self.head]:
                nn.utils.parametrizations.weight_norm(layer)

    def forward(self, x: Float[Tensor, "s i"]) -> Float[Tensor, "s o"]:
        """Outputs [S, out_dim] for inputs [S, in_dim]. Without skips one kernel of ``isosweep.ops`` does all layers."""
        if self.network != "layers":
            return ops.fused_mlp(x, [layer.weight for layer in (*self.hidden, self.head)], self.network)  # pyright: ignore[reportArgumentType]
        if not self.skips:
            return ops.mlp(x, [(layer.weight, layer.bias) for layer in (*self.hidden, self.head)])  # pyright: ignore[reportArgumentType]
        h = x
        for k, layer in enumerate(self.hidden):
            h = torch.relu(layer(torch.cat([h, x], dim=-1) if k in self.skips else h))
        return self.head(h)
