"""What every colour head is: features of samples to radiance, and whatever else it has to tell."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float, Int64
from torch import Tensor, nn


@dataclass(frozen=True)
class Shade:
    """A head's answer at S samples."""

    rgb: Float[Tensor, "s 3"]
    """Linear-response radiance in [0, 1]."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """Further outputs, a value a sample (albedo, roughness); a model hands them on as ``sample_extras``."""


class ShadingHead(nn.Module, ABC):
    """Radiance from a point's feature and the direction it is seen along. One class a way of shading."""

    @abstractmethod
    def forward(
        self,
        feature: Float[Tensor, "s f"],
        dirs: Float[Tensor, "r 3"],
        unit_points: Float[Tensor, "s 3"] | None = None,
        normals: Float[Tensor, "s 3"] | None = None,
        ray_index: Int64[Tensor, " s"] | None = None,
    ) -> Shade:
        """Shade samples.

        Args:
            feature: of the geometry at each sample.
            dirs: unit directions, one a sample, or with ``ray_index`` one a ray.
            unit_points: x / radius, in [-1, 1] inside the box.
            normals: unit.
            ray_index: the ray of each sample.
        """
