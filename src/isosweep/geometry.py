"""Rays of cameras, their intersections with box and sphere, contraction of space, poses and frames.

May import: errors, ops, types.

Axes: R rays, P points, V views.
Frames: points are in normalised scene units unless a function says otherwise. Cameras are OpenCV camera-to-world
(x right, y down, z forward); OpenGL cameras (Blender, nerfstudio) have y up and look along -z.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from isosweep import ops
from isosweep.errors import InputError
from isosweep.types import Cameras, Ndc, Rays

DISC = 2 / math.sqrt(12)
"""Radius of the disc whose variance along each axis is that of a square of side 1 (Barron et al. 2021, section 3.1)."""


def pixel_rays(
    cameras: Cameras,
    view: Int[Tensor, " r"],
    row: Int[Tensor, " r"] | Float[Tensor, " r"],
    col: Int[Tensor, " r"] | Float[Tensor, " r"],
    background: Float[Tensor, "r 3"] | Float[Tensor, "3"],
    cones: bool = False,
) -> Rays:
    """The rays through the centres of pixels (row, col) of the given views, with unit directions.

    With u = col + pixel_centre and v = row + pixel_centre the direction is R K^-1 (u, v, 1), normalised. K may have
    skew; its last row must be (0, 0, 1). Rows and columns may be fractional. Cameras with ``ndc`` give rays in
    normalised device coordinates.

    Args:
        background: the colour behind the scene, one for all rays or one for each ray.
        cones: whether the rays get the ``radius`` of their pixels' cones, in normalised device coordinates cylinders.
    """
    origins, dirs = ops.pixel_rays(cameras.K, cameras.c2w, view, row, col, cameras.pixel_centre)
    stand_in = None if cameras.stand_in is None else cameras.stand_in[view]
    rays = Rays(origins=origins, dirs=dirs, background=background.expand(len(dirs), 3), view=stand_in)
    if cameras.ndc is not None:
        moved = ndc_rays(rays, cameras.ndc)
        if not cones:
            return moved
        return replace(
            moved, radius=_cylinder_radius(cameras, cameras.ndc, view, row, col, rays), cylinder=True
        )
    if cones:
        rays = replace(rays, radius=_cone_radius(cameras, view, dirs))
    return rays if cameras.near is None else replace(rays, near=cameras.near[view])


def _cone_radius(
    cameras: Cameras, view: Int[Tensor, " r"], dirs: Float[Tensor, "r 3"]
) -> Float[Tensor, " r"]:
    """The cones' radius at distance 1 along unit directions; a pixel's width is the mean over columns and rows.

    K^-1 takes a step of one pixel to (1 / fx, 0, 0) or (-skew / (fx fy), 1 / fy, 0) in the plane z = 1, which a ray
    reaches at the distance 1 / (d . forward).
    """
    fx, skew, fy = cameras.K[:, 0, 0], cameras.K[:, 0, 1], cameras.K[:, 1, 1]
    width = 0.5 * (1 / fx.abs() + torch.hypot(skew / fx, torch.ones_like(fx)) / fy.abs())
    forward = cameras.c2w[:, :, 2]
    return DISC * width[view] * (dirs * forward[view]).sum(-1)


def _cylinder_radius(
    cameras: Cameras,
    ndc: Ndc,
    view: Int[Tensor, " r"],
    row: Int[Tensor, " r"] | Float[Tensor, " r"],
    col: Int[Tensor, " r"] | Float[Tensor, " r"],
    rays: Rays,
) -> Float[Tensor, " r"]:
    """The radius in normalised device coordinates, from where the rays of neighbouring pixels cross the near plane.

    ``rays`` are those of the pixels before the change of coordinates. Source: the code of Barron et al. 2021.
    """
    at = _on_near_plane(rays.origins, rays.dirs, ndc)
    widths = []
    for down, right in ((0, 1), (1, 0)):
        beside = ops.pixel_rays(cameras.K, cameras.c2w, view, row + down, col + right, cameras.pixel_centre)
        widths.append((_on_near_plane(*beside, ndc) - at).square().sum(-1).sqrt())
    return DISC * 0.5 * (widths[0] + widths[1])


def project(
    cameras: Cameras, view: int, points: Float[Tensor, "p 3"]
) -> tuple[Float[Tensor, "p 2"], Float[Tensor, " p"]]:
    """Where points appear in a view: (column, row) [P, 2] as fractional pixel indices, and the depth [P].

    This is the inverse of `pixel_rays`: (c, r) is the centre of pixel [r, c] for every ``pixel_centre``. The depth is
    measured along the optical axis, in the units of the poses, and is positive in front of the camera. With ``ndc`` the
    points are in normalised device coordinates.
    """
    if cameras.ndc is not None:
        points = from_ndc(points, cameras.ndc)
    c2w, K = cameras.c2w[view], cameras.K[view]
    in_camera = (points - c2w[:, 3]) @ c2w[:, :3]
    depth = in_camera[:, 2]
    image = (in_camera / depth[:, None]) @ K.T
    return image[:, :2] - cameras.pixel_centre, depth


def ndc_rays(rays: Rays, ndc: Ndc) -> Rays:
    """The rays in normalised device coordinates, where they are straight as well (Mildenhall et al. 2020, appendix C).

    A ray crosses the near plane (z' = -1) one unit after its origin and reaches infinity at z' = 1; directions have
    unit length. A ray that points away from the near plane meets nothing, so it is made to lead away from the box.
    """
    d = rays.dirs
    dz = d[:, 2:].clamp_min(1e-6)
    scale = d.new_tensor([ndc.scale_x, ndc.scale_y])
    start = torch.cat([_on_near_plane(rays.origins, d, ndc), -torch.ones_like(dz)], 1)
    end = torch.cat([scale * d[:, :2] / dz, torch.ones_like(dz)], 1)
    forward = torch.nn.functional.normalize(end - start, dim=-1)
    ahead, back = d[:, 2:] > 1e-6, forward.new_tensor([0.0, 0.0, -1.0])
    origins = torch.where(ahead, start - forward, start + back)
    return replace(rays, origins=origins, dirs=torch.where(ahead, forward, back), closed=ndc.closed)


def _on_near_plane(
    origins: Float[Tensor, "r 3"], dirs: Float[Tensor, "r 3"], ndc: Ndc
) -> Float[Tensor, "r 2"]:
    """x' and y' of the points at which rays of the poses' frame cross the near plane, z' = -1."""
    dz = dirs[:, 2:].clamp_min(1e-6)
    at = origins + (ndc.near - origins[:, 2:]) / dz * dirs
    return at.new_tensor([ndc.scale_x, ndc.scale_y]) * at[:, :2] / ndc.near


def to_ndc(points: Float[Tensor, "p 3"], ndc: Ndc) -> Float[Tensor, "p 3"]:
    """Points of the poses' frame to normalised device coordinates: (a x / z, b y / z, 1 - 2 near / z)."""
    x, y, z = points.unbind(-1)
    return torch.stack([ndc.scale_x * x / z, ndc.scale_y * y / z, 1 - 2 * ndc.near / z], -1)


def from_ndc(points: Float[Tensor, "p 3"], ndc: Ndc) -> Float[Tensor, "p 3"]:
    """The inverse of `to_ndc`."""
    z = 2 * ndc.near / (1 - points[:, 2])
    return torch.stack([points[:, 0] * z / ndc.scale_x, points[:, 1] * z / ndc.scale_y, z], -1)


def box_hit(rays: Rays, radius: float) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """The distances [R] at which rays enter and leave the box [-radius, radius]^3.

    A ray that starts inside enters at 0. A ray that misses the box, or has it behind its origin, gives (0, 0), so
    ``far > near`` tells which rays hit.
    """
    return ops.box_hit(rays.origins, rays.dirs, radius)


def sphere_hit(rays: Rays, radius: float) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """The distances [R] at which rays enter and leave the sphere about the origin; (0, 0) for rays that miss it.

    t = -b -+ sqrt(radius^2 - |o - b d|^2) with b = o . d. It is computed from the ray's point nearest to the centre,
    because the usual formula loses digits for cameras far away.
    """
    b = (rays.origins * rays.dirs).sum(-1)
    closest = rays.origins - b[:, None] * rays.dirs
    inside = radius**2 - closest.square().sum(-1)
    half = inside.clamp_min(0.0).sqrt()
    near, far = (-b - half).clamp_min(0.0), -b + half
    hit = (inside > 0) & (far > near)
    zero = torch.zeros_like(near)
    return torch.where(hit, near, zero), torch.where(hit, far, zero)


def contract(points: Float[Tensor, "*p 3"], radius: float = 1.0) -> Float[Tensor, "*p 3"]:
    """Contract all of space into the ball of radius 2, in units of ``radius`` (mip-NeRF 360, equation 10).

    With x = points / radius: x where |x| <= 1, and (2 - 1 / |x|) x / |x| elsewhere. The map and its first derivative
    are continuous.
    """
    x = points / radius
    norm = x.square().sum(-1, keepdim=True).clamp_min(1.0).sqrt()
    return x * (2.0 - 1.0 / norm) / norm


def contract_cube(points: Float[Tensor, "*p 3"], radius: float = 1.0) -> Float[Tensor, "*p 3"]:
    """Contract all of space into the cube [-2, 2]^3, in units of ``radius``: ``contract`` by the largest coordinate.

    With x = points / radius and n = max |x_k|: x where n <= 1, and (2 - 1 / n) x / n elsewhere. The box of that radius
    stays as it is.
    """
    x = points / radius
    largest = x.abs().amax(-1, keepdim=True).clamp_min(1.0)
    return x * (2.0 - 1.0 / largest) / largest


def to_world(points: Float[np.ndarray, "p 3"], matrix: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "p 3"]:
    """Points in normalised scene units to world units, in float64; ``matrix`` is a scene's ``to_world``."""
    return points.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def from_world(
    points: Float[np.ndarray, "p 3"], matrix: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "p 3"]:
    """Points in world units to normalised scene units, in float64: the inverse of `to_world`."""
    return (points.astype(np.float64) - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T


def similarity_scale(matrix: Float[np.ndarray, "4 4"]) -> float:
    """The length of one normalised unit in world units: the scale of a similarity x -> scale R x + shift.

    Raises:
        InputError: the matrix is not finite, or not a similarity.
    """
    if not np.isfinite(matrix).all():
        raise InputError(
            f"expected a similarity (scale, rotation, shift), found non-finite entries:\n{matrix}"
        )
    determinant = float(np.linalg.det(matrix[:3, :3]))
    scale = abs(determinant) ** (1 / 3)
    gram = matrix[:3, :3] @ matrix[:3, :3].T
    if determinant <= 0 or not np.allclose(gram, scale**2 * np.eye(3), atol=1e-4 * scale**2):
        raise InputError(
            "expected a similarity (one positive scale, rotation, shift), found the 4x4 matrix\n"
            f"{matrix}\nwith axes of lengths {np.sqrt(np.diag(gram)).tolist()}, determinant {determinant:g}"
        )
    return scale


def opengl_to_opencv(c2w: Float[np.ndarray, "*v 3 4"]) -> Float[np.ndarray, "*v 3 4"]:
    """Camera-to-world of OpenGL (y up, -z forward) to that of OpenCV (y down, +z forward): both axes are flipped."""
    return c2w * np.array([1.0, -1.0, -1.0, 1.0])


def opencv_to_opengl(c2w: Float[np.ndarray, "*v 3 4"]) -> Float[np.ndarray, "*v 3 4"]:
    """The inverse of `opengl_to_opencv`, which is the same flip of the second and third axis."""
    return c2w * np.array([1.0, -1.0, -1.0, 1.0])


def decompose_projection(
    projection: Float[np.ndarray, "3 4"],
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 4"]]:
    """Split a projection matrix P = K [R | t], known up to scale and sign, into K and the OpenCV camera-to-world.

    It is the RQ decomposition of the left 3x3 block, with the diagonal of K made positive (Hartley and Zisserman 2004,
    section 6.2.4).

    Returns: K [3, 3] with K[2, 2] = 1, and [R^T | centre] [3, 4].

    Raises:
        InputError: an entry is not finite, or the left block is singular (a camera at infinity).
    """
    from scipy.linalg import rq

    if not np.isfinite(projection).all():
        raise InputError("expected a finite projection matrix, found nan or inf in it")
    P = projection.astype(np.float64)
    P = P / np.linalg.norm(P[2, :3]) if np.linalg.norm(P[2, :3]) > 0 else P
    if abs(np.linalg.det(P[:, :3])) < 1e-12:
        raise InputError(
            "expected a projection matrix with an invertible left 3x3 block, found a singular one"
        )
    if np.linalg.det(P[:, :3]) < 0:
        P = -P
    K, R = rq(P[:, :3])
    signs = np.sign(np.diag(K))
    K, R = K * signs, R * signs[:, None]
    centre = -np.linalg.solve(P[:, :3], P[:, 3])
    return K / K[2, 2], np.concatenate([R.T, centre[:, None]], 1)


def look_at(
    eye: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"], up: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 4"]:
    """The OpenCV camera-to-world of a camera at ``eye`` that looks at ``target``, with ``up`` towards the image's top.

    A camera that looks along ``up`` uses another axis in its place.
    """
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-6 * np.linalg.norm(up):
        right = np.cross(forward, np.roll(up, 1))
    right = right / np.linalg.norm(right)
    down = np.cross(forward, right)
    return np.stack([right, down, forward, eye], 1)
