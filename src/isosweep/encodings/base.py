"""The interface of encodings: the features of a point, and the pullback of gradients.

The pullback turns a gradient in the features into a gradient in the point. Its result is an ordinary output that can be
differentiated once, so a loss on normals needs no second derivative.

Axes: S points, C coordinates of a point, D features.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep.ops import GridSpec

Pullback = Callable[[Float[Tensor, "s d"]], Float[Tensor, "s c"]]


class Encoding(nn.Module, ABC):
    """The base of encodings: points u in [0, 1]^C to D features. In the box C is 3, and u = x / (2 r) + 1/2.

    The first C features are the point in [-1, 1]^C, 2 u - 1, unless ``include_xyz`` is false: the sphere
    initialisation of a signed-distance field needs them.
    """

    in_dim: int = 3
    """C. Other spaces than the box may have more coordinates (models/space.py)."""
    out_dim: int
    """D."""
    integrates: ClassVar[bool] = False
    """Whether ``of_gaussians`` depends on the variance."""
    include_xyz: bool = True
    """Whether the first three features are the point."""

    def window(self, step: int, max_steps: int) -> Float[Tensor, " d"] | None:
        """The weight [D] in [0, 1] of each feature at a step, for encodings that grow; None if all are 1."""
        return None

    def cell_size(self, step: int, max_steps: int) -> float | None:
        """Side of the finest grid cell that is on at a step, in units of u; None if the encoding has no cells."""
        return None

    def coarsest_cell(self) -> float | None:
        """Side of the coarsest grid cell, in units of u; None if the encoding has no cells."""
        return None

    def grid(self) -> tuple[Tensor, GridSpec] | None:
        """Table and layout of the hash grid, if the encoding is the point and this grid's features and nothing else.

        With it, one kernel can do the encoding and the network. None for any other encoding.
        """
        return None

    @abstractmethod
    def forward(
        self, u: Float[Tensor, "s c"], window: Float[Tensor, " d"] | None = None
    ) -> Float[Tensor, "s d"]:
        """Features [S, D] of points u [S, C] in [0, 1]^C, multiplied by ``window`` [D] if there is one."""

    def of_gaussians(
        self,
        u: Float[Tensor, "s 3"],
        variance: Float[Tensor, "s 3"],
        window: Float[Tensor, " d"] | None = None,
    ) -> Float[Tensor, "s d"]:
        """The mean features [S, D] of Gaussians; here, of an encoding that knows no integral, those of their centres.

        Args:
            u: centres in [0, 1]^3.
            variance: along each axis, in units of u^2.
        """
        return self(u, window)

    def with_pullback(
        self, u: Float[Tensor, "s c"], window: Float[Tensor, " d"] | None = None
    ) -> tuple[Float[Tensor, "s d"], Pullback]:
        """Features [S, D], and the map g [S, D] -> J^T g [S, C] with J = d features / du.

        The map's result can be differentiated once, in g and in the encoding's parameters. Here autograd makes the map,
        so a loss on normals costs a second backward pass; an encoding that knows its Jacobian overrides this method.
        """
        training = torch.is_grad_enabled()
        with torch.enable_grad():
            place = u if u.requires_grad else u.detach().requires_grad_()
            features = self(place, window)

        def pullback(g: Float[Tensor, "s d"]) -> Float[Tensor, "s c"]:
            with torch.enable_grad():
                (found,) = torch.autograd.grad(
                    features, place, g, create_graph=training, retain_graph=True, materialize_grads=True
                )
            return found

        return (features if training else features.detach()), pullback
