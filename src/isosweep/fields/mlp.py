"""Fully connected networks of the density and colour fields."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep import ops


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32 where autocast has made it half precision; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class MLP(nn.Module):
    """Linear layers with ReLU between them; the input joins again at the layers in ``skips``.

    Args:
        in_dim, out_dim: features of the input and of the (linear) output.
        hidden_dim, n_hidden: width and number of hidden layers.
        skips: hidden layers (0-based) whose input is [previous output, network input].
    """

    def __init__(
        self, in_dim: int, out_dim: int, hidden_dim: int, n_hidden: int, skips: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.skips = frozenset(skips)
        widths = [in_dim, *[hidden_dim] * n_hidden]
        self.hidden = nn.ModuleList(
            nn.Linear(width + (in_dim if k in self.skips else 0), hidden_dim)
            for k, width in enumerate(widths[:-1])
        )
        self.head = nn.Linear(widths[-1], out_dim)

    def forward(self, x: Float[Tensor, "s i"]) -> Float[Tensor, "s o"]:
        if not self.skips:
            return ops.mlp(x, [(layer.weight, layer.bias) for layer in (*self.hidden, self.head)])  # pyright: ignore[reportArgumentType]
        h = x
        for k, layer in enumerate(self.hidden):
            h = torch.relu(layer(torch.cat([h, x], dim=-1) if k in self.skips else h))
        return self.head(h)
