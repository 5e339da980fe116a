"""The radiance field of the NeRF paper, and of mip-NeRF: one deep network for density and colour.

Shapes: S samples, R rays, E features of an encoded point, F width of the feature.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from isosweep.bounds import Layers, NotNegative, Number, Whole, Width
from isosweep.encodings.base import Encoding
from isosweep.fields.activations import activation as named
from isosweep.fields.activations import density_activation as named_density
from isosweep.fields.mlp import MLP, at_least_float32


class RadianceField(nn.Module):
    """Density and colour of a point seen along a direction (Mildenhall et al. 2020, appendix A, figure 7).

    h = trunk(gamma(x)), sigma = relu(w h + noise), c = sigmoid(MLP([W h, gamma(d)])), one hidden layer in the last.
    Mip-NeRF has sigma = softplus(w h + noise - 1) and c padded to [-e, 1 + e], e = 0.001, so that the density always
    has a slope and a white or black colour needs no infinite logit (Barron et al. 2021, supplement).
    Without ``direction`` the colour is a linear output of the trunk, as in the official code. Weights start uniform
    within sqrt(6 / (in + out)) (Glorot & Bengio 2010), biases at 0.

    Args:
        encoding: points in [0, 1]^3 to features.
        direction: encoding of unit directions; None gives the same colour from everywhere.
        hidden_dim, n_hidden: of the trunk (256, 8).
        skips: hidden layers (0-based) whose input is [previous output, encoded point]. The paper joins the
            encoded point to the fifth layer's output, which is the input of layer 5.
        color_dim: width of the layer that reads the direction (128).
        density_activation, color_activation: names of `isosweep.fields.activations`; the paper's are relu and sigmoid.
        density_bias: added before the density's.
        color_padding: e; the colour is (1 + 2 e) c - e.

    Raises:
        InputError: there is no such activation, or the density's may be negative.
    """

    def __init__(
        self,
        encoding: Encoding,
        direction: nn.Module | None = None,
        hidden_dim: Width = 256,
        n_hidden: Layers = 8,
        skips: Sequence[Whole] = (5,),
        color_dim: Width = 128,
        density_activation: str = "relu",
        density_bias: Number = 0.0,
        color_padding: NotNegative = 0.0,
        color_activation: str = "sigmoid",
    ) -> None:
        super().__init__()
        self.bias = density_bias
        self.color_padding = color_padding
        self.encoding, self.direction = encoding, direction
        self.of_density, self.of_color = named_density(density_activation), named(color_activation)
        after = 3 if direction is None else hidden_dim
        self.trunk = MLP(encoding.out_dim, 1 + after, hidden_dim, n_hidden, skips)
        self.head = None
        if direction is not None:
            self.head = MLP(after + int(direction.out_dim), 3, color_dim, 1)  # pyright: ignore[reportArgumentType]
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                # as the official code's layers: with torch's random biases the relu of the density is often off in
                # all of space, and then it never learns
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def density(
        self,
        u: Float[Tensor, "s 3"],
        window: Float[Tensor, " d"] | None = None,
        noise: Float[Tensor, " s"] | None = None,
        variance: Float[Tensor, "s 3"] | None = None,
    ) -> tuple[Float[Tensor, " s"], Float[Tensor, "s f"]]:
        """sigma >= 0 per unit of normalised length, and the feature that ``color`` reads.

        Args:
            u: points in [0, 1]^3.
            noise: added before the activation, so that a field that starts as nothing still learns.
            variance: along each axis in units of u^2, of the Gaussians whose means are ``u``; None for points.
        """
        gamma = self.encoding
        out = self.trunk(gamma(u, window) if variance is None else gamma.of_gaussians(u, variance, window))
        raw = at_least_float32(out[:, 0])
        raw = raw + self.bias if self.bias else raw
        return self.of_density(raw if noise is None else raw + noise), out[:, 1:]

    def color(
        self,
        feature: Float[Tensor, "s f"],
        dirs: Float[Tensor, "r 3"],
        ray_index: Int64[Tensor, " s"] | None = None,
    ) -> Float[Tensor, "s 3"]:
        """RGB in [0, 1], beyond it by the padding. ``dirs`` are unit, one a sample, or with ``ray_index`` one a ray."""
        raw = feature
        if self.direction is not None and self.head is not None:
            seen = self.direction(dirs)
            raw = self.head(torch.cat([feature, seen if ray_index is None else seen[ray_index]], dim=-1))
        color = self.of_color(at_least_float32(raw))
        pad = self.color_padding
        return (1 + 2 * pad) * color - pad if pad else color
