"""The shading of NeRO: a microfacet surface under learned light, with its materials as outputs.

Shapes: S samples, R rays, F width of the feature.
"""

from typing import Annotated

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from isosweep.bounds import Bound, Layers, Whole, Width
from isosweep.encodings.integrated_directions import IntegratedDirections
from isosweep.errors import InputError
from isosweep.fields import split_sum
from isosweep.fields.mlp import MLP, at_least_float32
from isosweep.fields.shading import Shade, ShadingHead

DIELECTRIC = 0.04
"""What a surface that is no metal reflects at normal incidence."""
BRIGHTEST = 5.0
"""Logarithm of the brightest light."""


class Microfacet(ShadingHead):
    """c = srgb(a (1 - m) L_diffuse(n) + (F0 F1 + F2) L_specular), with F0 = 0.04 (1 - m) + m a.

    Albedo a, metallic m and roughness rho are learned functions of the feature, and (F1, F2) is the split-sum table
    at (n.v, rho). Light comes from networks that read the integrated encoding of a direction:
      L_diffuse(n) = direct(n, 1),
      L_specular = (1 - s) direct(w, rho) + s indirect(w, rho, feature, x),
    with the reflected direction w = 2 (n.v) n - v and a learned probability s that w meets the surface again.
    Source: Liu et al. 2023 (NeRO), section 3.2. What the photographer reflects (its section 3.3) is not modelled.

    s reads point, feature and direction without a gradient to them: what hides a light is the shape's, and the shape is
    not to be bent so that light is hidden.

    Args:
        feature_dim: number of features that the geometry network gives for a point.
        n_bands: of ``IntegratedDirections``.
        hidden_dim, n_hidden: width and number of the hidden layers of each network.
    """

    table: Tensor

    def __init__(
        self,
        feature_dim: Whole,
        n_bands: Annotated[int, Bound(least=1, most=5)] = 5,
        hidden_dim: Width = 64,
        n_hidden: Layers = 2,
    ) -> None:
        super().__init__()
        self.directions = IntegratedDirections(n_bands)
        d = self.directions.out_dim
        self.material = MLP(feature_dim + 3, 5, hidden_dim, n_hidden)
        self.direct = MLP(d, 3, hidden_dim, n_hidden)
        self.indirect = MLP(d + feature_dim + 3, 3, hidden_dim, n_hidden)
        self.occlusion = MLP(d + feature_dim + 3, 1, hidden_dim, n_hidden)
        self.register_buffer("table", split_sum.table(), persistent=False)

    def forward(
        self,
        feature: Float[Tensor, "s f"],
        dirs: Float[Tensor, "r 3"],
        unit_points: Float[Tensor, "s 3"] | None = None,
        normals: Float[Tensor, "s 3"] | None = None,
        ray_index: Int64[Tensor, " s"] | None = None,
        views: Int64[Tensor, " r"] | None = None,
    ) -> Shade:
        """Radiance [S, 3] in [0, 1] as sRGB, and the extras albedo [S, 3], metallic, roughness and occlusion s [S].

        The arguments are those of ``ShadingHead.forward``; light and materials are the same in all ``views``.

        Raises:
            InputError: the model passed no normals or no points.
        """
        if normals is None or unit_points is None:
            raise InputError("the shading of NeRO reads normals and points, and the model passed none")
        toward = -(dirs if ray_index is None else dirs[ray_index])
        cosine = (normals * toward).sum(-1, keepdim=True)
        reflected = F.normalize(2 * cosine * normals - toward, dim=-1)
        place = torch.cat([feature, unit_points], dim=-1)
        albedo, metallic, roughness = _unit(self.material(place)).split([3, 1, 1], dim=-1)

        seen = self.directions(reflected, roughness[:, 0])
        around = self.directions(normals, torch.ones_like(roughness[:, 0]))
        # both at once: one network, twice as many rows
        direct, diffuse = _light(self.direct(torch.cat([seen, around]))).chunk(2)
        hidden = _unit(self.occlusion(torch.cat([seen, place], dim=-1).detach()))
        indirect = _light(self.indirect(torch.cat([seen, place], dim=-1)))
        specular = (1 - hidden) * direct + hidden * indirect

        f1, f2 = split_sum.look_up(self.table, cosine[:, 0].clamp(0, 1), roughness[:, 0])
        f0 = DIELECTRIC * (1 - metallic) + metallic * albedo
        linear = albedo * (1 - metallic) * diffuse + (f0 * f1[:, None] + f2[:, None]) * specular
        extras = {
            "albedo": albedo,
            "metallic": metallic[:, 0],
            "roughness": roughness[:, 0],
            "occlusion": hidden[:, 0],
        }
        return Shade(to_srgb(linear), extras)


def _unit(raw: Tensor) -> Tensor:
    return torch.sigmoid(at_least_float32(raw))


def _light(raw: Tensor) -> Tensor:
    return torch.exp(at_least_float32(raw).clamp(max=BRIGHTEST))


def to_srgb(linear: Float[Tensor, "s 3"]) -> Float[Tensor, "s 3"]:
    """Linear light as sRGB values in [0, 1] (IEC 61966-2-1); brighter light than 1 counts as 1."""
    linear = linear.clamp(0.0, 1.0)
    curve = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curve)
