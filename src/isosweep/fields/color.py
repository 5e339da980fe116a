"""The colour network of NeRF and NeuS: radiance from a point's feature and the direction of view."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from isosweep.bounds import Count, Layers, Whole, Width
from isosweep.errors import InputError
from isosweep.fields.activations import activation as named
from isosweep.fields.appearance import Appearance
from isosweep.fields.mlp import MLP, at_least_float32
from isosweep.fields.shading import Shade, ShadingHead


class ColorField(ShadingHead):
    """rgb = activation(MLP([feature, normal, point, code, encoded direction])); all parts but the feature are optional.

    Sources: NeRF (Mildenhall et al. 2020), section 3, gives the network the feature and the direction; NeuS (Wang et
    al. 2021), supplement, adds the normal and the point, as IDR does (Yariv et al. 2020).

    Args:
        feature_dim: number of features that the geometry network gives for a point.
        direction: encoding of unit directions, with ``out_dim`` features; None leaves the direction out.
        use_normal: the network reads the unit normal.
        use_point: the network reads the point, in [-1, 1].
        hidden_dim, n_hidden: width and number of the hidden layers.
        weight_norm: parametrise weights by direction and norm, as NeuS does.
        appearance_dim: length of a code that each view has for itself (``Appearance``); 0 for none.
        appearance_views, appearance_unseen: ``n_views`` and ``unseen`` of ``Appearance``.
        activation: of the output, a name of `isosweep.fields.activations`. What it returns is the radiance, so others
            than 'sigmoid' and 'lin2srgb' at the end need not be in [0, 1].
        network: who computes the network, as in ``MLP``.

    Raises:
        InputError: there is no such activation, or no such network.
    """

    def __init__(
        self,
        feature_dim: Whole,
        direction: nn.Module | None = None,
        use_normal: bool = False,
        use_point: bool = False,
        hidden_dim: Width = 64,
        n_hidden: Layers = 2,
        weight_norm: bool = False,
        appearance_dim: Whole = 0,
        appearance_views: Count = 512,
        appearance_unseen: str = "mean",
        activation: str = "sigmoid",
        network: str = "layers",
    ) -> None:
        super().__init__()
        self.direction, self.use_normal, self.use_point = direction, use_normal, use_point
        direction_dim = 0 if direction is None else int(direction.out_dim)  # pyright: ignore[reportArgumentType]
        in_dim = feature_dim + direction_dim + 3 * use_normal + 3 * use_point + appearance_dim
        self.mlp = MLP(in_dim, 3, hidden_dim, n_hidden, weight_norm=weight_norm, network=network)
        self.activation = named(activation)
        self.appearance = None
        if appearance_dim > 0:
            self.appearance = Appearance(appearance_dim, appearance_views, appearance_unseen)

    def forward(
        self,
        feature: Float[Tensor, "s f"],
        dirs: Float[Tensor, "r 3"],
        unit_points: Float[Tensor, "s 3"] | None = None,
        normals: Float[Tensor, "s 3"] | None = None,
        ray_index: Int64[Tensor, " s"] | None = None,
        views: Int64[Tensor, " r"] | None = None,
    ) -> Shade:
        """Radiance [S, 3], float32, in the range of the activation. The arguments are those of ``ShadingHead.forward``.

        A ray's direction is encoded once and then copied to its samples.

        Raises:
            InputError: the network reads normals or points, and the model passed none.
        """
        parts = [feature]
        if self.use_normal:
            parts.append(_required(normals, "normals"))
        if self.use_point:
            parts.append(_required(unit_points, "unit_points"))
        if self.appearance is not None:
            code = self.appearance(views, len(dirs))
            parts.append(code if ray_index is None else code[ray_index])
        if self.direction is not None:
            encoded = self.direction(dirs)
            parts.append(encoded if ray_index is None else encoded[ray_index])
        return Shade(self.activation(at_least_float32(self.mlp(torch.cat(parts, dim=-1)))))


def _required(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise InputError(f"this colour field was built to read {name}, and the model passed none")
    return value
