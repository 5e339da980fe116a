"""The split sum: what a microfacet surface reflects of a uniform light, as a table over angle and roughness.

Source: Karis 2013, "Real Shading in Unreal Engine 4", with the GGX distribution (Walter et al. 2007).
Axes: S points, C cells of a side of the table.
"""

import functools
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

SIZE = 64
"""C."""
_RINGS, _SECTORS = 64, 16
"""Half-vectors of the quadrature, by angle to the normal and around it; the other half circle is the same."""


@functools.cache
def table() -> Float[Tensor, "2 c c"]:
    """(F1, F2) at n.v = (j + 1/2) / C along the last axis and roughness rho = (i + 1/2) / C along the one before.

    A surface with the reflectance F0 at normal incidence reflects F0 F1 + F2 of a uniform light of radiance 1:
      F1 = E[(1 - (1 - v.h)^5) G v.h / (n.h n.v)],   F2 = E[(1 - v.h)^5 G v.h / (n.h n.v)],
    over half-vectors h of density D(h) n.h of GGX with alpha = rho^2; G is Smith's term with k = alpha / 2. The
    probability of a smaller angle to the normal is 1 - q^2, and q runs over the middles of equal cells: in q the
    integrand is smooth where n.h is 0.
    """
    place = (np.arange(SIZE) + 0.5) / SIZE
    rough, facing = place[:, None, None, None], place[None, :, None, None]
    q = ((np.arange(_RINGS) + 0.5) / _RINGS)[:, None]
    around = math.pi * (np.arange(_SECTORS) + 0.5) / _SECTORS
    alpha = rough**2
    cos_h = q / np.sqrt(1 + (alpha**2 - 1) * (1 - q**2))
    sin_h = np.sqrt(1 - cos_h**2)
    v_h = np.sqrt(1 - facing**2) * sin_h * np.cos(around) + facing * cos_h
    n_l = 2 * v_h * cos_h - facing
    k = alpha / 2
    smith = facing / (facing * (1 - k) + k) * n_l / (n_l * (1 - k) + k)
    seen = np.where((n_l > 0) & (v_h > 0), 2 * q * smith * v_h / (cos_h * facing), 0.0)
    schlick = (1 - v_h).clip(0, 1) ** 5
    both = np.stack([((1 - schlick) * seen).mean((2, 3)), (schlick * seen).mean((2, 3))])
    return torch.from_numpy(both.astype(np.float32))


def look_up(
    values: Float[Tensor, "2 c c"], facing: Float[Tensor, " s"], roughness: Float[Tensor, " s"]
) -> tuple[Float[Tensor, " s"], Float[Tensor, " s"]]:
    """F1 and F2 [S] for n.v and rho in [0, 1], linear between the table's cells and constant beyond their middles."""
    place = torch.stack([facing, roughness], -1) * 2 - 1
    found = F.grid_sample(
        values[None].to(place.dtype), place[None, None], padding_mode="border", align_corners=False
    )
    return found[0, 0, 0], found[0, 1, 0]
