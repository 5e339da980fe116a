"""The field of a picture: colour at a point, from an encoding and one network."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from isosweep.bounds import Layers, Whole, Width
from isosweep.encodings.base import Encoding
from isosweep.fields.activations import activation as named
from isosweep.fields.mlp import MLP, at_least_float32


class PictureField(nn.Module):
    """rgb = activation(MLP(encoding(u))).

    Sources: Tancik et al. 2020, "Fourier Features Let Networks Learn High Frequency Functions", section 6; Mueller et
    al. 2022, section 5.1.

    Args:
        encoding: points in [0, 1]^3 to features.
        hidden_dim, n_hidden, skips: the network's size, as in ``MLP``.
        activation: of the output, a name of `isosweep.fields.activations`.

    Raises:
        InputError: there is no such activation.
    """

    def __init__(
        self,
        encoding: Encoding,
        hidden_dim: Width = 64,
        n_hidden: Layers = 2,
        skips: Sequence[Whole] = (),
        activation: str = "sigmoid",
    ) -> None:
        super().__init__()
        self.encoding = encoding
        self.mlp = MLP(encoding.out_dim, 3, hidden_dim, n_hidden, skips)
        self.activation = named(activation)

    def forward(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> Float[Tensor, "s 3"]:
        """Colour [S, 3], float32, in the range of the activation, at points ``u`` in [0, 1]^3.

        Args:
            window: weight of each feature of the encoding (``Encoding.window``).
        """
        return self.activation(at_least_float32(self.mlp(self.encoding(u, window))))
