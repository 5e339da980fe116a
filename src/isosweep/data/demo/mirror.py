"""Polished metal of the demo: each ray is reflected once or twice, and then sees the environment.

Axes: P points or directions. Light is linear; pictures hold sRGB.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.data.demo.scenes import Solid
from isosweep.data.demo.tracing import trace
from isosweep.types import Rays

LAMPS: tuple[tuple[tuple[float, float, float], float, tuple[float, float, float]], ...] = (
    ((0.6, -0.5, 0.65), 0.34, (1.0, 0.97, 0.9)),
    ((-0.75, 0.35, 0.5), 0.26, (0.55, 0.75, 1.0)),
    ((-0.2, -0.95, 0.1), 0.2, (1.0, 0.55, 0.25)),
    ((0.5, 0.8, 0.15), 0.24, (0.35, 0.9, 0.5)),
    ((0.1, 0.2, -0.95), 0.3, (0.75, 0.3, 0.6)),
)
"""Round lamps far away: direction (not unit), half the angle that they are seen under in radians, linear colour."""
EDGE = 0.05
"""Width in radians over which a lamp's edge fades."""


def environment(dirs: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
    """Linear radiance [P, 3] in [0, 1] that arrives from unit directions [P, 3], from infinitely far away.

    A sky over a brown ground, with stripes on both, and lamps with soft edges.
    """
    x, y, z = dirs.unbind(-1)
    round_z = torch.atan2(y, x)
    sky = dirs.new_tensor((0.22, 0.32, 0.45)) * (0.45 + 0.55 * z.clamp(0, 1))[:, None]
    ground = dirs.new_tensor((0.2, 0.13, 0.08)) * (1 + 0.6 * torch.sin(9 * round_z) * (1 - z * z))[:, None]
    above = torch.sigmoid(z / 0.03)[:, None]
    bands = 0.75 + 0.25 * torch.sin(14 * z + torch.sin(3 * round_z))
    light = (ground + (sky - ground) * above) * bands[:, None]
    for where, half_angle, colour in LAMPS:
        axis = torch.nn.functional.normalize(dirs.new_tensor(where), dim=0)
        angle = torch.acos((dirs @ axis).clamp(-1, 1))
        lit = torch.sigmoid((half_angle - angle) / (EDGE / 4))[:, None]
        light = light + (dirs.new_tensor(colour) - light) * lit
    return light


def reflection(solid: Solid, x: Tensor, y: Tensor, z: Tensor, dirs: Tensor) -> Float[Tensor, "p 3"]:
    """Colour [P, 3] in [0, 1], as sRGB, of points on a mirror seen along unit directions [P, 3].

    radiance = F(n, v) L(r), with Schlick's Fresnel term F = F0 + (1 - F0) (1 - n.v)^5 (Schlick 1994). L is the
    environment, or where the reflected ray meets the solid again, what is reflected there; that ray ends outside.
    """
    points = torch.stack([x, y, z], -1)
    normal = outward(solid, points)
    out, passed = reflect(dirs, normal), fresnel(solid, points, dirs, normal)
    # the start is moved along the normal: on the surface itself the distance is 0, and tracing would end at once
    start = points + 2e-3 * normal
    t, again = trace(solid, Rays(start, out, torch.zeros_like(out)), torch.zeros(len(out)))
    light = environment(out)
    met = again.nonzero()[:, 0]
    if len(met):
        second = start[met] + t[met, None] * out[met]
        facing = outward(solid, second)
        seen = environment(reflect(out[met], facing))
        light[met] = fresnel(solid, second, out[met], facing) * seen
    return to_srgb(passed * light)


def outward(solid: Solid, points: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
    """Unit normals [P, 3], from central differences.

    A mirror doubles the error of a normal. That of ``scenes.normals`` grows with the step times the curvature.
    """
    x, y, z = points.T.contiguous()
    eps, sdf = 1e-3, solid.sdf
    slopes = (
        sdf(x + eps, y, z) - sdf(x - eps, y, z),
        sdf(x, y + eps, z) - sdf(x, y - eps, z),
        sdf(x, y, z + eps) - sdf(x, y, z - eps),
    )
    return torch.nn.functional.normalize(torch.stack(slopes, -1), dim=-1)


def reflect(dirs: Float[Tensor, "p 3"], normal: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
    """d - 2 (d.n) n: where a mirror of unit normal n sends light that travels along d."""
    return dirs - 2 * (dirs * normal).sum(-1, keepdim=True) * normal


def fresnel(solid: Solid, points: Tensor, dirs: Tensor, normal: Tensor) -> Float[Tensor, "p 3"]:
    """Share [P, 3] of the light that is reflected (Schlick 1994)."""
    f0 = solid.albedo(*points.T)
    away = (1 + (dirs * normal).sum(-1, keepdim=True)).clamp(0.0, 1.0)
    return f0 + (1 - f0) * away**5


def to_srgb(linear: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
    """Linear light in [0, 1] as sRGB values (IEC 61966-2-1)."""
    linear = linear.clamp(0.0, 1.0)
    curve = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curve)
