"""Cast rays at a mesh from the cameras of a scene: visible surface, silhouettes, the visual hull of masks.

Axes: V views, H, W pixels, N points. Arrays are numpy in world units and float64. Cameras come from ``world_cameras``
and are OpenCV camera-to-world.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from isosweep.meshes.topology import face_normals
from isosweep.runtime import progress
from isosweep.types import Cameras, Mesh


@dataclass(frozen=True)
class Hits:
    """What one view sees of a mesh, at pixel centres."""

    face: Int[np.ndarray, "h w"]
    """The number of the face that is hit; -1 where none is."""
    depth: Float[np.ndarray, "h w"]
    """Distance along the ray in world units; inf where nothing is hit."""
    normal: Float[np.ndarray, "h w 3"]
    """The face's unit normal in the world frame, on the side of the camera; zero where nothing is hit."""

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """The mesh's silhouette: True where a face is hit."""
        return self.face >= 0


class Caster:
    """A mesh that rays can be cast at, by Embree.

    Embree computes in float32. So the mesh is centred and scaled to unit size first: otherwise coordinates in
    millimetres, far from the origin, would lose digits.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._scene: Any = None
        if len(mesh.faces) == 0:
            return
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        self._centre = ((low + high) / 2).astype(np.float64)
        self._scale = float(np.linalg.norm(high - low)) or 1.0
        self._scene = EmbreeScene()
        vertices = np.ascontiguousarray((mesh.vertices - self._centre) / self._scale, dtype=np.float32)
        self._geometry = TriangleMesh(self._scene, vertices, np.ascontiguousarray(mesh.faces, dtype=np.int32))

    @property
    def diagonal(self) -> float:
        """The diagonal of the mesh's bounding box in world units; 0 for a mesh without faces."""
        return self._scale if self._scene is not None else 0.0

    def first_hit(
        self, origins: Float[np.ndarray, "n 3"], dirs: Float[np.ndarray, "n 3"]
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """The face (-1 for none) and the distance in world units (inf for none) of each ray's first hit.

        Args:
            dirs: unit directions.
        """
        face = np.full(len(origins), -1, dtype=np.int32)
        depth = np.full(len(origins), np.inf)
        if self._scene is None:
            return face, depth

        def part(rows: slice) -> None:
            out = self._scene.run(*self._rays(origins[rows], dirs[rows]), output=True)
            hit = out["geomID"] != -1
            face[rows] = np.where(hit, out["primID"], -1)
            depth[rows] = np.where(hit, out["tfar"].astype(np.float64) * self._scale, np.inf)

        _in_parts(part, len(origins))
        return face, depth

    def blocked(
        self, origin: Float[np.ndarray, "3"], points: Float[np.ndarray, "n 3"], margin: float
    ) -> Bool[np.ndarray, " n"]:
        """Whether the mesh hides each point from ``origin``.

        It does if it meets the segment from ``origin`` to the point, more than ``margin`` (world units) before it.
        """
        hidden = np.zeros(len(points), dtype=bool)
        if self._scene is None:
            return hidden

        def part(rows: slice) -> None:
            step = points[rows] - origin
            length = np.maximum(np.linalg.norm(step, axis=1), 1e-30)
            starts = np.broadcast_to(origin, step.shape)
            reach = np.maximum((length - margin) / self._scale, 0.0).astype(np.float32)
            rays = self._rays(starts, step / length[:, None])
            hidden[rows] = self._scene.run(*rays, dists=reach, query="OCCLUDED") != -1

        _in_parts(part, len(points))
        return hidden

    def _rays(self, origins: np.ndarray, dirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts = np.ascontiguousarray((origins - self._centre) / self._scale, dtype=np.float32)
        return starts, np.ascontiguousarray(dirs, dtype=np.float32)


def _in_parts(work, count: int, size: int = 1 << 18) -> None:
    """Run ``work(slice)`` over ``count`` rows on as many threads as torch may use (Embree drops the GIL)."""
    parts = [slice(i, min(i + size, count)) for i in range(0, count, size)]
    threads = min(torch.get_num_threads(), len(parts))
    if threads < 2:
        for rows in parts:
            work(rows)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))


def world_cameras(cameras: Cameras, to_world: Float[np.ndarray, "4 4"]) -> Cameras:
    """The cameras in world units, in float64 on the CPU.

    Args:
        to_world: similarity from normalised scene units to world units. Its rotation and scale move the centres; only
            its rotation turns the cameras.
    """
    pose = cameras.c2w.double().cpu()
    matrix = torch.from_numpy(np.asarray(to_world, dtype=np.float64))
    scale = torch.linalg.det(matrix[:3, :3]).abs() ** (1 / 3)
    rotation = matrix[:3, :3] / scale @ pose[:, :, :3]
    centre = pose[:, :, 3] @ matrix[:3, :3].T + matrix[:3, 3]
    world = torch.cat([rotation, centre[..., None]], dim=-1)
    return replace(cameras, c2w=world, K=cameras.K.double().cpu(), hw=cameras.hw.cpu())


def camera_rays(cameras: Cameras, view: int) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "n 3"]]:
    """The centre of a view, and the unit directions [H W, 3] through all its pixels, row by row.

    This is ``geometry.pixel_rays`` in numpy, without matrix products of BLAS: their threads wait actively at barriers,
    which makes the many small steps of this module ten times slower on busy cores.
    """
    h, w = cameras.hw[view].tolist()
    K, pose = cameras.K[view].numpy(), cameras.c2w[view].numpy()
    row, col = np.divmod(np.arange(h * w), w)
    x, y = col + cameras.pixel_centre, row + cameras.pixel_centre
    dirs = np.stack(_affine(pose[:, :3] @ np.linalg.inv(K), np.zeros(3), x, y, np.ones(h * w)), axis=1)
    return pose[:, 3], dirs / np.sqrt(np.square(dirs).sum(axis=1, keepdims=True))


def _affine(
    matrix: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, "3"], *xyz: Float[np.ndarray, " n"]
) -> list[np.ndarray]:
    x, y, z = xyz
    return [m[0] * x + m[1] * y + m[2] * z + s for m, s in zip(matrix, shift, strict=True)]


def project(
    cameras: Cameras, view: int, points: Float[np.ndarray, "n 3"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The row and column [N] of the pixel that each point falls on, and whether it lies in front and in the frame.

    This is the inverse of ``camera_rays``. Rows and columns of points outside the frame are clipped to it.
    """
    h, w = cameras.hw[view].tolist()
    across, down, front = image_points(cameras, view, points)
    # clipped before the cast, which is undefined for huge values
    col = np.clip(np.rint(across), -1, w).astype(np.int64)
    row = np.clip(np.rint(down), -1, h).astype(np.int64)
    inside = front & (col >= 0) & (col < w) & (row >= 0) & (row < h)
    return np.clip(row, 0, h - 1), np.clip(col, 0, w - 1), inside


def image_points(
    cameras: Cameras, view: int, points: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The column and row [N], fractional indices of pixels, at which points appear, and whether they lie in front."""
    pose = cameras.c2w[view].numpy()
    matrix = cameras.K[view].numpy() @ pose[:, :3].T
    across, down, depth = _affine(matrix, -matrix @ pose[:, 3], *points.T)
    front = depth > 0
    safe = np.where(front, depth, np.inf)
    return across / safe - cameras.pixel_centre, down / safe - cameras.pixel_centre, front


def raycast(caster: Caster, cameras: Cameras, view: int) -> Hits:
    """What the ray through the centre of each pixel of a view hits first."""
    h, w = cameras.hw[view].tolist()
    centre, dirs = camera_rays(cameras, view)
    face, depth = caster.first_hit(np.broadcast_to(centre, dirs.shape), dirs)
    hit = face >= 0
    normal = np.zeros((h * w, 3))
    if hit.any():
        unit = face_normals(caster.mesh)[face[hit]]
        facing = np.sign((unit * dirs[hit]).sum(axis=1, keepdims=True))
        normal[hit] = unit * np.where(facing > 0, -1.0, 1.0)
    return Hits(face.reshape(h, w), depth.reshape(h, w), normal.reshape(h, w, 3))


def visible_points(
    caster: Caster, cameras: Cameras, points: Float[np.ndarray, "n 3"], views: Sequence[int]
) -> Bool[np.ndarray, " n"]:
    """Whether at least one of the views sees each point: it lies in the frame, and the mesh does not hide it.

    The points lie on the mesh. So a hit less than 1e-4 of the mesh's diagonal before a point is the point's own
    surface and does not hide it. Views that are far apart come first, and a point that is seen needs no further view,
    so few points are tested against all of them.
    """
    visible = np.zeros(len(points), dtype=bool)
    margin = 1e-4 * caster.diagonal
    for view in progress.through(_far_apart(cameras, views), "casting rays at the mesh"):
        left = np.flatnonzero(~visible)
        if len(left) == 0:
            break
        left = left[project(cameras, view, points[left])[2]]
        visible[left] = ~caster.blocked(cameras.c2w[view, :, 3].numpy(), points[left], margin)
    return visible


def in_hull(
    cameras: Cameras,
    masks: Sequence[Bool[np.ndarray, "h w"] | None],
    points: Float[np.ndarray, "n 3"],
    views: Sequence[int],
    dilation: int = 1,
) -> Bool[np.ndarray, " n"]:
    """Whether each point lies in the visual hull: on the dilated mask of every view that has one.

    A point outside a view's frame counts as on its mask, because nothing is known about it there. Dilating by one pixel
    covers the rounding of the projection and of an antialiased edge.

    Args:
        masks: the foreground of each of ``views``; None for a view without a mask.
        dilation: pixels by which the masks are dilated.
    """
    inside = np.ones(len(points), dtype=bool)
    grounds = [None if mask is None else dilated(mask, dilation) for mask in masks]

    def part(rows: slice) -> None:
        left = np.arange(rows.start, rows.stop)
        for view, ground in zip(views, grounds, strict=True):
            if ground is not None:
                row, col, framed = project(cameras, view, points[left])
                left = left[~framed | ground[row, col]]
        inside[rows] = False
        inside[left] = True

    _in_parts(part, len(points), 1 << 16)
    return inside


def dilated(mask: Bool[np.ndarray, "h w"], dilation: int) -> Bool[np.ndarray, "h w"]:
    """The mask dilated by a square with a side of 2 ``dilation`` + 1 pixels."""
    from scipy.ndimage import maximum_filter

    return maximum_filter(mask, size=2 * dilation + 1)


def silhouette_iou(
    caster: Caster, cameras: Cameras, masks: Sequence[Bool[np.ndarray, "h w"]], views: Sequence[int]
) -> list[float | None]:
    """Intersection over union of the mesh's silhouette and the mask, for each view; None if both are empty."""
    values: list[float | None] = []
    for view, mask in zip(views, masks, strict=True):
        cast = raycast(caster, cameras, view).mask
        union = int((cast | mask).sum())
        values.append(int((cast & mask).sum()) / union if union else None)
    return values


def _far_apart(cameras: Cameras, views: Sequence[int]) -> list[int]:
    """The views in an order in which each is farthest from all before it, so that the first see most of the surface."""
    left = list(views)
    centres = cameras.c2w[:, :, 3].numpy()
    order = [left.pop(0)]
    nearest = np.full(len(centres), np.inf)
    while left:
        nearest = np.minimum(nearest, np.linalg.norm(centres - centres[order[-1]], axis=1))
        order.append(left.pop(int(np.argmax(nearest[left]))))
    return order
