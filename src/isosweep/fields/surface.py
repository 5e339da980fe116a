"""The signed-distance field of NeuS; it returns its gradient (the normal) as an ordinary output.

Axes: S points, E features of the encoding, H hidden units, F outputs of the network.
"""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep import ops
from isosweep.bounds import Bound, Positive, Whole, Width
from isosweep.encodings.base import Encoding
from isosweep.errors import InputError
from isosweep.fields.mlp import check_network


class SurfaceField(nn.Module):
    """f(x) = r MLP(encoding(u))[0] with u = x / (2 r) + 1/2: the signed distance in normalised scene units.

    At the start f is near the distance to a sphere of radius ``init_radius`` r about the origin, with |grad f| near 1
    (Atzmon & Lipman 2020, SAL, theorem 1). Distances and gradients have the same unit of length, so an eikonal term
    means the same at every radius.

    The gradient is grad f = 1/2 J^T g, with the Jacobian J of the encoding and the network's gradient g in its input.
    The layers' chain rule is written out, so a loss on the gradient needs autograd of first order only. Everything
    here is computed in float32, under autocast too.

    Args:
        encoding: points in [0, 1]^3 to features, of which the first three are the point in [-1, 1]^3.
        radius: r, half the side of the scene box, normalised scene units.
        hidden_dim, n_hidden: width and number of the hidden layers (NeuS: 8 of 256).
        skips: hidden layers, counted from 0, whose input is [output of the layer before, encoding] / sqrt(2)
            (NeuS: layer 4).
        feature_dim: number of the network's outputs: the distance first; the colour field reads all of them.
        init_radius: radius of the sphere at the start, as a fraction of r.
        beta: sharpness of the activation softplus(x) = log(1 + exp(beta x)) / beta.
        weight_norm: parametrise weights by direction and norm (Salimans & Kingma 2016).
        inside_out: f is negative outside the sphere, as for a room that is seen from inside.
        distance_feature: the colour field reads the distance as well, as in instant-nsr-pl; without it the feature is
            the other ``feature_dim`` - 1 outputs (NeuS).
        narrow: the layer before a skip has so many outputs less that the skip's input is as wide as the others (NeuS);
            otherwise it keeps its width, and the skip's input is wider.
        network: 'layers', or one of tiny-cuda-nn's networks ('FullyFusedMLP', 'CutlassMLP'). Its hidden layers have no
            biases; it computes distances without a gradient in training, such as a sampler asks for, in half precision.
            The gradient, and whatever is asked in evaluation, comes from the same layers in float32.

    Raises:
        InputError: ``n_hidden`` is below 1, ``narrow`` leaves no output, the encoding leaves the point out, or there is
            no such network.
    """

    def __init__(
        self,
        encoding: Encoding,
        radius: Positive = 1.0,
        hidden_dim: Width = 64,
        n_hidden: Annotated[int, Bound(least=1, most=256)] = 1,
        skips: Sequence[Whole] = (),
        feature_dim: Width = 13,
        init_radius: Positive = 0.5,
        beta: Positive = 100.0,
        weight_norm: bool = True,
        inside_out: bool = False,
        distance_feature: bool = True,
        narrow: bool = False,
        network: str = "layers",
    ) -> None:
        super().__init__()
        if n_hidden < 1:
            raise InputError(f"a surface field needs at least one hidden layer, found n_hidden={n_hidden}")
        if not encoding.include_xyz:
            raise InputError(
                "a surface field starts as a sphere, for which its encoding needs the point: set "
                "encoding.include_xyz=true, or train a density (model=nerf)"
            )
        self.encoding, self.radius, self.beta = encoding, radius, beta
        self.feature_dim, self.skips = feature_dim, frozenset(skips)
        self.distance_feature = distance_feature
        self.network = check_network(network, hidden_dim, n_hidden, skips)
        e_dim = encoding.out_dim
        if narrow and self.skips and e_dim >= hidden_dim:
            raise InputError(
                f"narrow leaves {hidden_dim} - {e_dim} outputs for the layer before a skip: use a hidden_dim above the "
                f"encoding's {e_dim} features, or narrow=false"
            )
        self.layers = nn.ModuleList()
        width = e_dim
        for k in range(n_hidden):
            out_dim = hidden_dim - (e_dim if narrow and k + 1 < n_hidden and k + 1 in self.skips else 0)
            in_dim = width + (e_dim if k > 0 and k in self.skips else 0)
            self.layers.append(nn.Linear(in_dim, out_dim, bias=network == "layers"))
            width = out_dim
        self.head = nn.Linear(width, feature_dim)
        self._sphere_init(e_dim, init_radius, -1.0 if inside_out else 1.0)
        if weight_norm:
            for layer in [*self.layers, self.head]:
                nn.utils.parametrizations.weight_norm(layer)

    @torch.no_grad()
    def _sphere_init(self, e_dim: int, init_radius: float, sign: float) -> None:
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            layer.weight.normal_(0.0, math.sqrt(2.0 / layer.out_features))
            if layer.bias is not None:
                layer.bias.zero_()
            if k == 0:
                layer.weight[:, 3:] = 0.0
            elif k in self.skips:
                # counted from the front: of an encoding that is the point alone, none of these features is left
                layer.weight[:, layer.in_features - (e_dim - 3) :] = 0.0
        head = self.head
        head.weight.normal_(sign * math.sqrt(math.pi / head.in_features), 1e-4)
        head.bias.fill_(-sign * init_radius)

    def _trunk(self, e: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last hidden layer's output [S, H], and the derivative of each hidden layer's activation."""
        h, slopes = e, []
        for k, layer in enumerate(self.layers):
            h_in = torch.cat([h, e], dim=-1) / math.sqrt(2.0) if k in self.skips else h
            h, slope = ops.softplus_with_slope(layer(h_in), self.beta)
            slopes.append(slope)
        return h, slopes

    def to_unit(self, points: Float[Tensor, "s 3"]) -> Float[Tensor, "s 3"]:
        """u = x / (2 r) + 1/2: points in normalised scene units to the encoding's [0, 1]^3."""
        return points / (2 * self.radius) + 0.5

    def level(
        self, points: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> Float[Tensor, " s"]:
        """f [S] alone, in normalised scene units: positive outside the surface, negative inside.

        Args:
            points: normalised scene units, in [-r, r]^3.
            window: weight of each feature of the encoding (``Encoding.window``); None weighs all with 1.
        """
        return self(points, window)[0]

    def forward(
        self, points: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> tuple[Float[Tensor, " s"], Float[Tensor, "s f"]]:
        """f [S] in normalised scene units, and the feature [S, F]. Arguments as in ``level``.

        F is ``feature_dim``, one less without ``distance_feature``.
        """
        with torch.autocast(points.device.type, enabled=False):
            u = self.to_unit(points)
            out = self._values(u, window)
        return self.radius * out[:, 0], self._feature(out)

    def _values(self, u: Tensor, window: Tensor | None) -> Tensor:
        """The network's outputs [S, F] alone."""
        fused = self._fused(u, window, want_gradient=False)
        if fused is not None:
            return fused[0]
        e = self.encoding(u, window)
        if self.network == "layers" or not self.training:
            return self.head(self._trunk(e)[0])
        weights = [layer.weight for layer in (*self.layers, self.head)]
        return ops.fused_mlp(e, weights, self.network, self.beta) + self.head.bias  # pyright: ignore[reportArgumentType]

    def _feature(self, out: Tensor) -> Tensor:
        return out if self.distance_feature else out[:, 1:]

    def with_gradient(
        self, points: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> tuple[Float[Tensor, " s"], Float[Tensor, "s f"], Float[Tensor, "s 3"]]:
        """f [S], feature [S, F] and grad f = df / dx [S, 3], which has no unit. Arguments as in ``level``.

        The gradient can be differentiated once, in the network's and the encoding's parameters.
        """
        with torch.autocast(points.device.type, enabled=False):
            u = self.to_unit(points)
            fused = self._fused(u, window, want_gradient=True)
            if fused is None:
                e, pullback = self.encoding.with_pullback(u, window)
                h, slopes = self._trunk(e)
                out, gradient = self.head(h), pullback(self._input_gradient(slopes))
            else:
                out, gradient = fused
                assert gradient is not None
            # f = r MLP(u) and du / dx = 1 / (2 r): the radius cancels, and the half remains.
            return self.radius * out[:, 0], self._feature(out), 0.5 * gradient

    def _fused(
        self, u: Tensor, window: Tensor | None, want_gradient: bool
    ) -> tuple[Tensor, Tensor | None] | None:
        """The network's outputs [S, F] and its gradient in u [S, 3] or None, from one kernel.

        None if the kernels of ``isosweep.ops`` do not cover this encoding or network.
        """
        grid = self.encoding.grid()
        if grid is None or len(self.layers) > 1 or self.skips or self.network != "layers":
            return None
        hidden, head = self.layers[0], self.head
        assert isinstance(hidden.weight, Tensor)
        assert isinstance(hidden.bias, Tensor)
        # Weighting the input is the same as weighting the columns of the first layer's weight, and cheaper.
        weight = hidden.weight if window is None else hidden.weight * window
        layers = ((weight, hidden.bias), (head.weight, head.bias))
        return ops.surface_network(u, *grid, *layers, self.beta, want_gradient)

    def _input_gradient(self, slopes: list[Tensor]) -> Tensor:
        """d MLP[0] / d encoding [S, E], by the chain rule from the last layer to the first, skips included."""
        g = self.head.weight[0] * slopes[-1]
        through_skips: Tensor | None = None
        for k in range(len(self.layers) - 1, -1, -1):
            weight = self.layers[k].weight
            assert isinstance(weight, Tensor)
            g_in = g @ weight
            if k in self.skips and k > 0:
                hidden_dim = slopes[k - 1].shape[-1]
                g_in = g_in / math.sqrt(2.0)
                g_in, direct = g_in[:, :hidden_dim], g_in[:, hidden_dim:]
                through_skips = direct if through_skips is None else through_skips + direct
            if k == 0:
                return g_in if through_skips is None else g_in + through_skips
            g = g_in * slopes[k - 1]
        raise AssertionError("unreachable: the loop ends at the first layer")
