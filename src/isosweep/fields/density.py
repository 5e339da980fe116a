"""NeRF's density field: volume density at a point, and a feature for the colour field."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from isosweep.bounds import Layers, Number, Whole, Width
from isosweep.encodings.base import Encoding
from isosweep.fields.activations import density_activation
from isosweep.fields.mlp import MLP, at_least_float32


class DensityField(nn.Module):
    """sigma = activation(MLP(encoding(u))[0] + bias), in 1 / (normalised scene unit).

    All outputs of the network, the first included, are the feature that the colour field reads.

    Args:
        encoding: points in [0, 1]^C to features.
        hidden_dim, n_hidden, skips: the network's size, as in ``MLP``.
        feature_dim: number of the network's outputs (16 in Instant-NGP).
        activation: 'exp' (Instant-NGP, with bias -1), 'softplus' (mip-NeRF, Barron et al. 2021), or any other name
            of `isosweep.fields.activations` that is never negative.
        bias: added before the activation.
        network: who computes the network, as in ``MLP``.

    Raises:
        InputError: there is no such activation, or it may be negative; or no such network.
    """

    def __init__(
        self,
        encoding: Encoding,
        hidden_dim: Width = 64,
        n_hidden: Layers = 1,
        skips: Sequence[Whole] = (),
        feature_dim: Width = 16,
        activation: str = "exp",
        bias: Number = -1.0,
        network: str = "layers",
    ) -> None:
        super().__init__()
        self.encoding, self.feature_dim = encoding, feature_dim
        self.activation, self.bias = density_activation(activation), bias
        self.mlp = MLP(encoding.out_dim, feature_dim, hidden_dim, n_hidden, skips, network=network)

    def forward(
        self, u: Float[Tensor, "s c"], window: Float[Tensor, " d"] | None = None
    ) -> tuple[Float[Tensor, " s"], Float[Tensor, "s f"]]:
        """Density [S] (>= 0, float32) and feature [S, F] at points ``u`` [S, C] in [0, 1]^C.

        Args:
            window: weight of each feature of the encoding (``Encoding.window``); None weighs all with 1.
        """
        feature = self.mlp(self.encoding(u, window))
        raw = at_least_float32(feature[:, 0]) + self.bias
        return self.activation(raw), feature
