"""A mesh from rendered depth: the depths of the training views are fused in a truncated signed-distance volume.

It needs no level set, so it suits densities, whose level sets are rough. Sources: Curless and Levoy 1996; 2DGS (Huang
et al. 2024), section 5, with its truncation, number of parts and median depths. The volume is Open3D's.

Axes: H, W pixels of a view, R rays, S samples, N vertices, F faces.
"""

import importlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.config.crop import Box, box_of
from isosweep.config.settings import ExportSettings
from isosweep.errors import InputError
from isosweep.meshes.extract import finished, to_world
from isosweep.meshes.topology import largest_components
from isosweep.meshes.triangulators import require_package
from isosweep.rendering.views import Renderable, render_chunked
from isosweep.runtime import progress
from isosweep.types import Cameras, Knobs, Mesh, RenderOut, Samples, Scene

TRUNCATION = 5.0
"""Voxels from a surface up to which the volume knows its distance (2DGS)."""
SEEN = 0.5
"""Least opacity of a ray whose depth counts."""
BLOCK, BLOCKS = 16, 4096
"""Voxels along a block of the volume, and blocks that it has room for at first; it grows."""
MOST_SKEW = 0.01
"""Pixels by which the lower end of an image may be shifted by skew, which Open3D's cameras do not have."""


def require(clean: Sequence[str] = ()) -> None:
    """Check that Open3D is installed, and that nothing is to be cleaned, which is done on meshes of a field alone.

    Raises:
        InputError: one of both is not so.
    """
    if clean:
        raise InputError(
            f"export.clean={list(clean)} cleans the mesh of a field, and export.method=tsdf keeps the largest parts "
            "(export.clusters): set export.clean=[]"
        )
    require_package(
        "open3d", "open3d", "export.method=tsdf", "export.method=field meshes the level set without it"
    )


def fuse(model: Renderable, scene: Scene, knobs: Knobs, settings: ExportSettings) -> Mesh:
    """The fused surface in world units, with the colours of the renders.

    A voxel is the box's side over ``settings.resolution``. Only what lies in the box, or in ``settings.crop``, is
    fused, of rays whose opacity there is at least ``SEEN``. Of the connected parts, ``settings.clusters`` with the most
    area are kept.

    Raises:
        InputError: Open3D is not there; a camera has skew; no ray meets anything.
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    require(settings.clean)
    o3d = importlib.import_module("open3d")
    voxel = 2 * scene.radius / settings.resolution
    # Open3D's older ScalableTSDFVolume finds nothing in version 0.20
    kinds = {"tsdf": 1, "weight": 1, "color": 3}
    volume = o3d.t.geometry.VoxelBlockGrid(
        tuple(kinds), (o3d.core.float32,) * 3, tuple(kinds.values()), voxel, BLOCK, BLOCKS
    )
    r = scene.radius
    box = box_of(settings.crop) or ((-r, -r, -r), (r, r, r))
    chunk, empty = settings.chunk, True
    for view in progress.through(scene.splits["train"], "fusing depths"):
        maps, chunk = render_chunked(model, scene.cameras, view, knobs, scene.background, chunk, more=_median)
        K, pose = (o3d.core.Tensor(m) for m in _camera(scene.cameras, view, scene.names[view]))
        depth = _depth(scene.cameras, view, maps["median"][..., 0].numpy(), box)
        depth[maps["opacity"][..., 0].numpy() < SEEN] = 0.0
        if not depth.any():
            continue
        color = maps["rgb"].clamp(0, 1).numpy()
        images = [
            o3d.t.geometry.Image(o3d.core.Tensor(np.ascontiguousarray(x, np.float32))) for x in (depth, color)
        ]
        limits = (1.0, float(depth.max()) + voxel, TRUNCATION)  # scale and end of depths, width of the band
        touched = volume.compute_unique_block_coordinates(images[0], K, pose, *limits)
        volume.integrate(touched, *images, K, pose, *limits)
        empty = False
    found = None if empty else volume.extract_triangle_mesh(weight_threshold=0.5)
    if found is None or len(found.triangle.indices) == 0:
        raise InputError(
            f"no surface in the depths of {len(scene.splits['train'])} views: no ray has an opacity of {SEEN} in the "
            "box. Train longer, or look at the renders"
        )
    colors = found.vertex.colors.numpy().astype(np.float64) if settings.colors else None
    vertices, faces = found.vertex.positions.numpy(), found.triangle.indices.numpy()
    fused = Mesh(vertices.astype(np.float64), faces.astype(np.int64), colors)
    mesh = finished(largest_components(fused, settings.clusters), scene, settings)
    return to_world(mesh, scene.to_world)


def _median(out: RenderOut) -> dict[str, Tensor]:
    return {"median": median_depth(out.samples, out.weights)[:, None]}


def median_depth(samples: Samples, weights: Float[Tensor, " s"]) -> Float[Tensor, " r"]:
    """The distance [R] up to which half of a ray's weight lies, in a section in proportion; 0 where nothing is met.

    The mean lies in the air where a ray meets two surfaces, as at a rim.
    """
    if len(weights) == 0:
        return weights.new_zeros(len(samples.offsets) - 1)
    sums = torch.cat([weights.new_zeros(1, dtype=torch.float64), weights.double().cumsum(0)])
    before, after = (sums[samples.offsets[part].long()] for part in (slice(None, -1), slice(1, None)))
    half = (before + after) / 2
    section = (torch.searchsorted(sums, half) - 1).clamp_min(0)  # sums[section] < half <= sums[section + 1]
    share = (half - sums[section]) / weights[section].double().clamp_min(1e-30)
    depth = samples.t[section] + samples.dt[section] * (share - 0.5).to(samples.t)
    return torch.where(after > before, depth, 0.0)


def _camera(
    cameras: Cameras, view: int, name: str
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]:
    """The intrinsics of a view for pixels with their centres at whole numbers, and its world-to-camera pose."""
    K = cameras.K[view].double().cpu().numpy().copy()
    if abs(K[0, 1] / K[1, 1]) * int(cameras.hw[view, 0]) > MOST_SKEW:
        raise InputError(
            f"export.method=tsdf: the camera of view '{name}' has skew ({K[0, 1]:g}), which Open3D's have not: use "
            "export.method=field"
        )
    K[:2, 2] -= cameras.pixel_centre
    pose = np.eye(4)
    pose[:3] = cameras.c2w[view].double().cpu().numpy()
    return K, np.linalg.inv(pose)


def _depth(
    cameras: Cameras, view: int, distance: Float[np.ndarray, "h w"], box: Box
) -> Float[np.ndarray, "h w"]:
    """Depth along the optical axis of distances along rays; 0 where the point lies outside the box."""
    K, c2w = (x[view].double().cpu().numpy() for x in (cameras.K, cameras.c2w))
    row, col = np.indices(distance.shape) + cameras.pixel_centre
    rays = np.stack([col, row, np.ones_like(col)], -1) @ np.linalg.inv(K).T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    points = (distance[..., None] * rays) @ c2w[:, :3].T + c2w[:, 3]
    inside = ((points >= box[0]) & (points <= box[1])).all(-1)
    return np.where(inside, distance * rays[..., 2], 0.0)
