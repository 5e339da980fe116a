"""Where the edges of sections lie between the two ends of a ray.

Shapes: R rays, N edges. A place is a number in [0, 1], from a ray's first edge to its last one.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.errors import InputError
from isosweep.types import Rays

SPACINGS = ("linear", "disparity", "piecewise", "geometric")


def check_spacing(spacing: str, choices: tuple[str, ...] = SPACINGS, where: str = "sampler.spacing") -> str:
    """``spacing`` itself; InputError where it is none of ``choices``."""
    if spacing not in choices:
        raise InputError(f"{where} is one of {', '.join(choices)}, found {spacing!r}")
    return spacing


def distances(
    spacing: str,
    place: Float[Tensor, "r n"],
    t_near: Float[Tensor, " r"],
    t_far: Float[Tensor, " r"],
) -> Float[Tensor, "r n"]:
    """The distances t [R, N] of places: g(t) = (1 - place) g(near) + place g(far), in normalised units.

    ``spacing`` names g. All but the first need near > 0, and an interval that is empty gives its near end.
    - 'linear': t. Sections have equal length.
    - 'disparity': 1 / t. Most sections lie near the camera (Mildenhall et al. 2020, appendix C).
    - 'piecewise': t / 2 up to t = 1, then 1 - 1 / (2 t). Equal lengths near the camera, equal disparity behind
      (nerfstudio's nerfacto, Tancik et al. 2023).
    - 'geometric': log t. Every section is as many times as long as the one before it.
    """
    near = t_near[:, None]
    if spacing == "linear":
        return near + (t_far - t_near).clamp_min(0.0)[:, None] * place
    far = torch.maximum(t_far, t_near)[:, None]
    if spacing == "disparity":
        return 1 / ((1 - place) / near + place / far)
    if spacing == "geometric":
        return near * (far / near) ** place
    g = (1 - place) * _piecewise(near) + place * _piecewise(far)
    return torch.where(g < 0.5, 2 * g, 1 / (2 - 2 * g.clamp_min(0.5)))


def warp(spacing: str, t: Float[Tensor, " *r"]) -> Float[Tensor, " *r"]:
    """g(t) of ``distances``, in the sign in which it rises with t; t > 0."""
    if spacing == "linear":
        return t
    if spacing == "disparity":
        return -1 / t
    return t.log() if spacing == "geometric" else _piecewise(t)


def _piecewise(t: Tensor) -> Tensor:
    return torch.where(t < 1, t / 2, 1 - 1 / (2 * t.clamp_min(1.0)))


def inverse_radii(
    rays: Rays,
    place: Float[Tensor, "r n"],
    t_near: Float[Tensor, " r"],
    t_far: Float[Tensor, " r"],
) -> Float[Tensor, "r n"]:
    """The distances t [R, N] of places that are even in 1 / |o + t d|, the inverse distance from the origin.

    Source: Zhang et al. 2020, NeRF++, section 4. A ray that first comes nearer to the origin is spaced by the way that
    1 / |x| goes there and back; with b the distance along the ray of its nearest point, m that point's distance from
    the origin, and q = 1 / |x| behind it, q = 2 / m - 1 / |x| before it, places are even in q, which falls all along
    the ray.

    Args:
        t_near, t_far: far > near; no point between them is the origin.
    """
    b = -(rays.origins * rays.dirs).sum(-1, keepdim=True)
    m = (rays.origins + b * rays.dirs).norm(dim=-1, keepdim=True).clamp_min(1e-6)

    def q(t: Tensor) -> Tensor:
        inverse = 1 / torch.hypot(t - b, m)
        return torch.where(t < b, 2 / m - inverse, inverse)

    near, far = t_near[:, None], t_far[:, None]
    here = (1 - place) * q(near) + place * q(far)
    before = here > 1 / m
    radius = 1 / torch.where(before, 2 / m - here, here)
    way = ((radius - m) * (radius + m)).clamp_min(0.0).sqrt()
    t = torch.where(before, b - way, b + way)
    # rounding must not move the ends, or the order of edges that are very close
    return torch.minimum(torch.maximum(t, near), far).cummax(dim=-1).values
