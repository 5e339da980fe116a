"""Ways to write a point of all space as numbers in [0, 1], which an encoding can read.

Shapes: S points, C coordinates.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.encodings.base import Encoding
from isosweep.errors import InputError
from isosweep.geometry import contract, contract_cube


class Space(ABC):
    """From points to the coordinates of an encoding. A space has no state: lengths are in units of the box's radius."""

    dim: int = 3
    """C, number of coordinates."""

    @abstractmethod
    def coordinates(self, x: Float[Tensor, "s 3"]) -> Float[Tensor, "s c"]:
        """Coordinates [S, C] in [0, 1] of points [S, 3], in units of the box's radius about its middle."""

    def check(self, encoding: Encoding) -> None:
        """Check that an encoding reads as many coordinates as there are.

        Raises:
            InputError: it reads another number.
        """
        if encoding.in_dim != self.dim:
            raise InputError(
                f"space {type(self).__name__} has {self.dim} coordinates, and encoding {type(encoding).__name__} "
                f"reads {encoding.in_dim}: use an encoding of waves with in_dim={self.dim} (encoding freq), or a space "
                "that is contracted, which has 3"
            )


class ContractedBall(Space):
    """All of space in a ball of radius 2, and c / 4 + 1/2 of it (Barron et al. 2022, mip-NeRF 360, equation 10)."""

    def coordinates(self, x: Float[Tensor, "s 3"]) -> Float[Tensor, "s c"]:
        return contract(x) / 4 + 0.5


class ContractedCube(Space):
    """All of space in the cube [-2, 2]^3, and c / 4 + 1/2 of it: the contraction of the largest coordinate.

    The box keeps its shape and half the side of the cube, and no cell of a grid is left outside of space, as half of
    the corners are with a ball. Source: nerfstudio's nerfacto (Tancik et al. 2023), which contracts so for its grids.
    """

    def coordinates(self, x: Float[Tensor, "s 3"]) -> Float[Tensor, "s c"]:
        return contract_cube(x) / 4 + 0.5


class InvertedSphere(Space):
    """(x / r, y / r, z / r, 1 / r) with r = |x|, for points outside the unit sphere, and p / 2 + 1/2 of it.

    A direction and an inverse distance: what is far changes as little as it does in a photograph. r counts as 1 at
    least. Source: Zhang et al. 2020, NeRF++, section 4.
    """

    dim = 4

    def coordinates(self, x: Float[Tensor, "s 3"]) -> Float[Tensor, "s c"]:
        inverse = 1 / x.norm(dim=-1, keepdim=True).clamp_min(1.0)
        return torch.cat([x * inverse, inverse], dim=-1) / 2 + 0.5
