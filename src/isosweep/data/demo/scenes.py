"""The solids of the demo: signed distances and colours in closed form, in normalised units.

Axes: P points; x, y, z are tensors [P], and z is up. Distances are exact or too small (at smooth unions), so sphere
tracing with full steps never passes through a surface.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Solid:
    """A procedural object inside the unit sphere."""

    sdf: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Signed distance: x, y, z [P] -> [P], negative inside."""
    albedo: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Colour without light: x, y, z [P] -> [P, 3] in [0, 1]."""
    genus: int
    """Number of holes through it."""
    mirror: bool = False
    """Polished metal, which shows its surroundings (mirror.py); its albedo is what it reflects at normal incidence."""


def mug(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Signed distance of a mug with a deep cavity and a handle."""
    x = x + 0.18
    rho = (x * x + y * y).sqrt()
    body = _cylinder(rho, z, 0.45, 0.5, 0.06)
    handle = _torus(x - 0.48, z, y, 0.28, 0.085)
    cavity = _cylinder(rho, z - 0.45, 0.33, 0.5, 0.08)
    return _without(_union(body, handle, 0.06), cavity, 0.05)


def rings(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Signed distance of two rings joined at a right angle, with a dimpled ball on the other side: two holes."""
    x = x + 0.12
    big = _torus(x, y, z, 0.4, 0.13)
    small = _torus(x - 0.6, z, y, 0.2, 0.08)
    ball = _ball(x + 0.42, y, z - 0.08, 0.24)
    dimple = _ball(x + 0.48, y, z - 0.36, 0.17)
    return _without(_union(_union(big, small, 0.05), ball, 0.08), dimple, 0.04)


def chrome(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Signed distance of two balls grown together, with a wide dimple in the larger one and a ring on the smaller."""
    big = _ball(x + 0.2, y, z + 0.12, 0.42)
    small = _ball(x - 0.34, y - 0.05, z - 0.2, 0.22)
    ring = _torus(x - 0.5, z - 0.34, y - 0.05, 0.14, 0.05)
    dimple = _ball(x + 0.36, y + 0.3, z - 0.42, 0.44)
    return _without(_union(_union(big, small, 0.16), ring, 0.05), dimple, 0.08)


def _cylinder(rho: Tensor, z: Tensor, radius: float, half_height: float, rounding: float) -> Tensor:
    a, b = rho - (radius - rounding), z.abs() - (half_height - rounding)
    outside = (a.clamp_min(0.0).square() + b.clamp_min(0.0).square()).sqrt()
    return outside + torch.maximum(a, b).clamp_max(0.0) - rounding


def _torus(a: Tensor, b: Tensor, axis: Tensor, ring: float, tube: float) -> Tensor:
    q = (a * a + b * b).sqrt() - ring
    return (q * q + axis * axis).sqrt() - tube


def _ball(x: Tensor, y: Tensor, z: Tensor, radius: float) -> Tensor:
    return (x * x + y * y + z * z).sqrt() - radius


def _union(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Smooth minimum over a band of width k (Inigo Quilez' quadratic polynomial)."""
    h = (0.5 + 0.5 * (b - a) / k).clamp(0.0, 1.0)
    return b + (a - b) * h - k * h * (1 - h)


def _without(a: Tensor, b: Tensor, k: float) -> Tensor:
    return -_union(-a, b, k)


def mug_albedo(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Colours of the mug: a blue glaze with bands and a wavy lower edge over an orange body with soft spots."""
    x = x + 0.18
    angle = torch.atan2(y, x)
    edge = 0.11 * torch.sin(4 * angle) + 0.05 * torch.sin(7 * angle + 1.0) - 0.06
    glaze = torch.sigmoid((z - edge) / 0.025)
    bands = 0.5 + 0.5 * torch.sin(15 * z + 2.0 * torch.sin(3 * angle))
    upper = _mix((0.06, 0.34, 0.58), (0.30, 0.80, 0.78), bands)
    spots = 0.5 + 0.5 * torch.sin(16 * x + 3.0) * torch.sin(16 * y + 1.0) * torch.sin(16 * z + 1.0)
    lower = _mix((0.90, 0.38, 0.16), (0.99, 0.82, 0.46), spots)
    return lower + (upper - lower) * glaze[:, None]


def rings_albedo(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Colours of the rings: gold and violet marble with a turquoise vein."""
    swirl = 0.5 + 0.5 * torch.sin(11 * x + 2.5 * torch.sin(6 * z) + 2.0 * torch.sin(7 * y))
    vein = 0.5 + 0.5 * torch.sin(9 * (y + z) + 2.0 * torch.sin(8 * x))
    base = _mix((0.52, 0.20, 0.58), (0.98, 0.78, 0.28), swirl)
    return base + (base.new_tensor((0.16, 0.68, 0.70)) - base) * (vein**6)[:, None]


def chrome_albedo(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """What the polished metal reflects: bright, a little warm, the same everywhere."""
    return x.new_tensor((0.86, 0.83, 0.78)).expand(len(x), 3)


def _mix(a: tuple[float, ...], b: tuple[float, ...], weight: Tensor) -> Tensor:
    low, high = weight.new_tensor(a), weight.new_tensor(b)
    return low + (high - low) * weight[:, None]


SOLIDS = {
    "chrome": Solid(chrome, chrome_albedo, genus=1, mirror=True),
    "mug": Solid(mug, mug_albedo, genus=1),
    "rings": Solid(rings, rings_albedo, genus=2),
}


def normals(solid: Solid, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The three components of the unit outward normal, and the length of the distance's gradient; all [P].

    Differences between the corners of a tetrahedron: four evaluations, with an error of second order.
    Source: Inigo Quilez, normals for an SDF.
    """
    eps = 1e-3 if x.dtype == torch.float32 else 1e-5
    a = solid.sdf(x + eps, y - eps, z - eps)
    b = solid.sdf(x - eps, y - eps, z + eps)
    c = solid.sdf(x - eps, y + eps, z - eps)
    d = solid.sdf(x + eps, y + eps, z + eps)
    gx, gy, gz = a - b - c + d, c + d - a - b, b + d - a - c
    length = (gx * gx + gy * gy + gz * gz).sqrt().clamp_min(1e-12)
    return gx / length, gy / length, gz / length, length / (4 * eps)


def _unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = math.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


KEY = _unit(0.5, -0.4, 0.8)
"""Direction of the main light."""
FILL = _unit(-0.6, 0.7, 0.1)
"""Direction of the second, weaker light."""
CROWDED = 0.15
"""Distance along the normal at which other surface darkens a point (ambient occlusion)."""


def shade(solid: Solid, x: Tensor, y: Tensor, z: Tensor, dirs: Tensor) -> Tensor:
    """Colour [P, 3] in [0, 1] of surface points: ambient light with occlusion, two lights, and a highlight.

    Only the highlight (Blinn and Phong) depends on the viewing directions ``dirs`` [P, 3].
    """
    a, b, c, _ = normals(solid, x, y, z)
    free = (solid.sdf(x + CROWDED * a, y + CROWDED * b, z + CROWDED * c) / CROWDED).clamp(0.0, 1.0)
    key = (KEY[0] * a + KEY[1] * b + KEY[2] * c).clamp_min(0.0)
    fill = (FILL[0] * a + FILL[1] * b + FILL[2] * c).clamp_min(0.0)
    light = (0.55 + 0.08 * c) * (0.6 + 0.4 * free) + 0.45 * key + 0.2 * fill
    hx, hy, hz = KEY[0] - dirs[:, 0], KEY[1] - dirs[:, 1], KEY[2] - dirs[:, 2]
    length = (hx * hx + hy * hy + hz * hz).sqrt().clamp_min(1e-6)
    gloss = 0.25 * ((a * hx + b * hy + c * hz) / length).clamp_min(0.0) ** 24
    return (solid.albedo(x, y, z) * light[:, None] + gloss[:, None]).clamp(0.0, 1.0)
