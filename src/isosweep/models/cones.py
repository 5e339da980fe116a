"""Sections of cones and cylinders as Gaussians (mip-NeRF, Barron et al. 2021, section 3.1).

Shapes: S packed samples. A section covers [t - h, t + h] of its ray, with t its middle and h half its length; lengths
are in normalised units.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.errors import InputError
from isosweep.types import Rays, Samples


@dataclass(frozen=True)
class Moments:
    """Mean and variances of the points in a section of a cone or cylinder."""

    mean: Float[Tensor, " s"]
    """Along the ray."""
    along: Float[Tensor, " s"]
    """Variance along the ray."""
    across: Float[Tensor, " s"]
    """Variance along any direction across it."""


@dataclass(frozen=True)
class Gaussians:
    """Gaussians in space: mean, and the diagonal of the covariance."""

    mean: Float[Tensor, "s 3"]
    variance: Float[Tensor, "s 3"]


def frustum(t: Float[Tensor, " s"], h: Float[Tensor, " s"], radius: Float[Tensor, " s"]) -> Moments:
    """The moments of a section of a cone.

      mean = t + 2 t h^2 / q, with q = 3 t^2 + h^2
      along = h^2 / 3 - (4 / 15) h^4 (12 t^2 - h^2) / q^2
      across = radius^2 (t^2 / 4 + (5 / 12) h^2 - (4 / 15) h^4 / q)

    Source: equation 7, the stable form: differences of high powers of the ends lose all digits of a short section.

    Args:
        radius: of the cone at distance 1.
    """
    q = (3 * t.square() + h.square()).clamp_min(torch.finfo(t.dtype).tiny)
    ratio = h.square() / q
    return Moments(
        mean=t + 2 * t * ratio,
        along=h.square() / 3 - (4 / 15) * ratio.square() * (12 * t.square() - h.square()),
        across=radius.square() * (t.square() / 4 + (5 / 12) * h.square() - (4 / 15) * h.square() * ratio),
    )


def cylinder(t: Float[Tensor, " s"], h: Float[Tensor, " s"], radius: Float[Tensor, " s"]) -> Moments:
    """The moments of a section of a cylinder: the middle, h^2 / 3 along the ray, and radius^2 / 4 across it."""
    return Moments(t, h.square() / 3, radius.square() / 4)


def gaussians(rays: Rays, samples: Samples) -> Gaussians:
    """The Gaussians of samples: o + mean d, and along d d^T + across (I - d d^T) for a unit d, of which the diagonal.

    Source: equations 8 and 16.

    Raises:
        InputError: the rays have no radius.
    """
    if rays.radius is None:
        raise InputError("these rays have no radius: make them with geometry.pixel_rays(..., cones=True)")
    index = samples.ray_index
    shape = cylinder if rays.cylinder else frustum
    found = shape(samples.t, 0.5 * samples.dt, rays.radius[index])
    dirs = rays.dirs[index]
    square = dirs.square()
    mean = rays.origins[index] + found.mean[:, None] * dirs
    return Gaussians(mean, found.along[:, None] * square + found.across[:, None] * (1 - square))
