"""Radiance from a point's feature and the direction it is seen along."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from isosweep.errors import InputError
from isosweep.fields.mlp import MLP, at_least_float32
from isosweep.fields.shading import Shade, ShadingHead


class ColorField(ShadingHead):
    """sigmoid(MLP([feature, normal, point, encoded direction])), each part optional but the first.

    Args:
        feature_dim: width of the geometry feature.
        direction: encoding of unit directions; None gives a view-independent head.
        use_normal: feed the unit normal (NeuS; Yariv et al. 2020, IDR).
        use_point: feed the point in [-1, 1] (NeuS).
        hidden_dim, n_hidden: the network's size.
    """

    def __init__(
        self,
        feature_dim: int,
        direction: nn.Module | None = None,
        use_normal: bool = False,
        use_point: bool = False,
        hidden_dim: int = 64,
        n_hidden: int = 2,
    ) -> None:
        super().__init__()
        self.direction, self.use_normal, self.use_point = direction, use_normal, use_point
        direction_dim = 0 if direction is None else int(direction.out_dim)  # pyright: ignore[reportArgumentType]
        in_dim = feature_dim + direction_dim + 3 * use_normal + 3 * use_point
        self.mlp = MLP(in_dim, 3, hidden_dim, n_hidden)

    def forward(
        self,
        feature: Float[Tensor, "s f"],
        dirs: Float[Tensor, "r 3"],
        unit_points: Float[Tensor, "s 3"] | None = None,
        normals: Float[Tensor, "s 3"] | None = None,
        ray_index: Int64[Tensor, " s"] | None = None,
    ) -> Shade:
        """The arguments are those of ``ShadingHead``; each ray's direction is encoded once."""
        parts = [feature]
        if self.use_normal:
            parts.append(_required(normals, "normals"))
        if self.use_point:
            parts.append(_required(unit_points, "unit_points"))
        if self.direction is not None:
            encoded = self.direction(dirs)
            parts.append(encoded if ray_index is None else encoded[ray_index])
        return Shade(torch.sigmoid(at_least_float32(self.mlp(torch.cat(parts, dim=-1)))))


def _required(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise InputError(f"this colour field was built to read {name}, and the model passed none")
    return value
