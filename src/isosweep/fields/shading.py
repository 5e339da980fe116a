"""The interface of colour heads: from the features of samples to their radiance, and to further outputs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float, Int64
from torch import Tensor, nn


@dataclass(frozen=True)
class Shade:
    """What a colour head returns for S samples."""

    rgb: Float[Tensor, "s 3"]
    """Radiance in [0, 1], in the colour space of the images."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """Further outputs with one row for each sample, such as albedo; a model returns them as ``sample_extras``."""


class ShadingHead(nn.Module, ABC):
    """The base of colour heads: radiance from a point's feature and the direction of view. A subclass is one way of
    shading; it implements ``forward``."""

    @abstractmethod
    def forward(
        self,
        feature: Float[Tensor, "s f"],
        dirs: Float[Tensor, "r 3"],
        unit_points: Float[Tensor, "s 3"] | None = None,
        normals: Float[Tensor, "s 3"] | None = None,
        ray_index: Int64[Tensor, " s"] | None = None,
        views: Int64[Tensor, " r"] | None = None,
    ) -> Shade:
        """Shade S samples.

        Args:
            feature: the geometry network's feature at each sample.
            dirs: unit directions of view, from the camera to the sample: one for each sample, or with ``ray_index``
                one for each ray.
            unit_points: the samples in units of the box, x / radius: in [-1, 1] inside it.
            normals: unit normals, outward, in the scene's frame.
            ray_index: the ray that each sample lies on.
            views: the training view that each of ``dirs`` comes from; None where they are of none.

        Raises:
            InputError: the head reads an argument that was not passed.
        """
