"""The demo's solids: signed distances and colours in closed form, units of half the scene box.

Shapes: P points. z is up. Distances are exact or underestimates (smooth unions), so sphere tracing
with the full step never passes through.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Solid:
    """One procedural object inside the unit sphere."""

    sdf: Callable[[Tensor], Tensor]
    """[P, 3] -> [P], negative inside."""
    albedo: Callable[[Tensor], Tensor]
    """[P, 3] -> [P, 3] in [0, 1]."""
    genus: int
    """Holes through it."""


def _cylinder(p: Tensor, radius: float, half_height: float, rounding: float) -> Tensor:
    d = torch.stack([p[:, :2].norm(dim=-1) - radius + rounding, p[:, 2].abs() - half_height + rounding], -1)
    return d.amax(-1).clamp(max=0.0) + d.clamp_min(0.0).norm(dim=-1) - rounding


def _torus(p: Tensor, ring: float, tube: float, axis: int) -> Tensor:
    plane = [k for k in range(3) if k != axis]
    q = torch.stack([p[:, plane].norm(dim=-1) - ring, p[:, axis]], -1)
    return q.norm(dim=-1) - tube


def _union(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Smooth minimum over a band of width k (Inigo Quilez' quadratic polynomial)."""
    h = (0.5 + 0.5 * (b - a) / k).clamp(0.0, 1.0)
    return b + (a - b) * h - k * h * (1 - h)


def _without(a: Tensor, b: Tensor, k: float) -> Tensor:
    return -_union(-a, b, k)


def _shift(p: Tensor, x: float, y: float, z: float) -> Tensor:
    return p - p.new_tensor([x, y, z])


def mug(p: Tensor) -> Tensor:
    """A mug: a deep cavity, and a handle whose hole is open."""
    p = _shift(p, -0.18, 0.0, 0.0)
    body = _cylinder(p, 0.45, 0.5, 0.06)
    handle = _torus(_shift(p, 0.48, 0.0, 0.0), 0.28, 0.085, axis=1)
    cavity = _cylinder(_shift(p, 0.0, 0.0, 0.4), 0.33, 0.72, 0.08)
    return _without(_union(body, handle, 0.06), cavity, 0.05)


def rings(p: Tensor) -> Tensor:
    """Two rings grown together at a right angle, and a dimpled ball opposite: two open holes."""
    p = _shift(p, -0.12, 0.0, 0.0)
    big = _torus(p, 0.4, 0.13, axis=2)
    small = _torus(_shift(p, 0.6, 0.0, 0.0), 0.2, 0.08, axis=1)
    ball = _shift(p, -0.42, 0.0, 0.08).norm(dim=-1) - 0.24
    dimple = _shift(p, -0.48, 0.0, 0.36).norm(dim=-1) - 0.17
    return _without(_union(_union(big, small, 0.05), ball, 0.08), dimple, 0.04)


def _waves(p: Tensor, freq: float, warm: tuple[float, ...], cold: tuple[float, ...]) -> Tensor:
    x, y, z = p.unbind(-1)
    a = 0.5 + 0.5 * torch.sin(freq * x + 2.0 * torch.sin(0.6 * freq * z))
    b = 0.5 + 0.5 * torch.sin(freq * (y + z) + 1.3)
    mix = (0.65 * a + 0.35 * b)[:, None]
    spots = (torch.sin(1.2 * freq * x) * torch.sin(1.2 * freq * y) * torch.sin(1.2 * freq * z))[:, None]
    color = p.new_tensor(warm) * mix + p.new_tensor(cold) * (1 - mix)
    return (color + 0.18 * spots.clamp(-0.6, 0.6)).clamp(0.02, 0.98)


SOLIDS = {
    "mug": Solid(mug, lambda p: _waves(p, 11.0, (0.90, 0.45, 0.18), (0.10, 0.38, 0.62)), genus=1),
    "rings": Solid(rings, lambda p: _waves(p, 13.0, (0.93, 0.78, 0.25), (0.45, 0.12, 0.42)), genus=2),
}


def normals(solid: Solid, p: Tensor) -> Tensor:
    """Unit outward normals by central differences of the distance."""
    eps = 1e-3 if p.dtype == torch.float32 else 1e-5
    steps = eps * torch.eye(3, dtype=p.dtype)
    g = torch.stack([solid.sdf(p + s) - solid.sdf(p - s) for s in steps], -1)
    return torch.nn.functional.normalize(g, dim=-1)


def shade(solid: Solid, p: Tensor, normal: Tensor, dirs: Tensor) -> Tensor:
    """Colour of surface points: two diffuse lights, and a soft highlight that moves with the view."""
    base = solid.albedo(p)
    key = torch.nn.functional.normalize(p.new_tensor([0.5, -0.4, 0.8]), dim=0)
    fill = torch.nn.functional.normalize(p.new_tensor([-0.6, 0.7, 0.1]), dim=0)
    light = 0.55 + 0.5 * (normal @ key).clamp_min(0.0) + 0.18 * (normal @ fill).clamp_min(0.0)
    half = torch.nn.functional.normalize(key - dirs, dim=-1)
    gloss = 0.25 * (normal * half).sum(-1).clamp_min(0.0) ** 24
    return (base * light[:, None] + gloss[:, None]).clamp(0.0, 1.0)
