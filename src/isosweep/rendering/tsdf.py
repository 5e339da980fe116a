"""A mesh from rendered depth: the depths of the training views are fused in a truncated signed-distance volume.

It needs no level set, so it suits densities, whose level sets are rough. Sources: Curless and Levoy 1996; 2DGS (Huang
et al. 2024), section 5, with its truncation and number of parts. The volume is Open3D's.

Axes: H, W pixels of a view, N vertices, F faces.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from isosweep.config.settings import ExportSettings
from isosweep.errors import InputError
from isosweep.meshes.extract import finished, to_world
from isosweep.meshes.topology import largest_components
from isosweep.meshes.triangulators import require_package
from isosweep.rendering.views import Renderable, render_chunked
from isosweep.runtime import progress
from isosweep.types import Cameras, Knobs, Mesh, Scene

TRUNCATION = 5.0
"""Voxels from a surface up to which the volume knows its distance (2DGS)."""
SEEN = 0.5
"""Least opacity of a ray whose depth counts."""
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

    A voxel is the box's side over ``settings.resolution``. Only what lies in the box is fused, of rays whose opacity
    there is at least ``SEEN``. Of the connected parts, ``settings.clusters`` with the most area are kept.

    Raises:
        InputError: Open3D is not there; a camera has skew; no ray meets anything.
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    require(settings.clean)
    o3d = importlib.import_module("open3d")
    voxel = 2 * scene.radius / settings.resolution
    volume = o3d.pipelines.integration.ScalableTSDFVolume(
        voxel, TRUNCATION * voxel, o3d.pipelines.integration.TSDFVolumeColorType.RGB8
    )
    chunk = settings.chunk
    for view in progress.through(scene.splits["train"], "fusing depths"):
        maps, chunk = render_chunked(model, scene.cameras, view, knobs, scene.background, chunk)
        pinhole, pose = _camera(o3d, scene.cameras, view, scene.names[view])
        depth = _depth(scene.cameras, view, maps["depth"][..., 0].numpy(), scene.radius)
        depth[maps["opacity"][..., 0].numpy() < SEEN] = 0.0
        color = np.rint(255 * maps["rgb"].clamp(0, 1).numpy()).astype(np.uint8)
        far = float(depth.max()) + voxel
        image = o3d.geometry.RGBDImage.create_from_color_and_depth(
            o3d.geometry.Image(np.ascontiguousarray(color)),
            o3d.geometry.Image(np.ascontiguousarray(depth, dtype=np.float32)),
            depth_scale=1.0,
            depth_trunc=far,
            convert_rgb_to_intensity=False,
        )
        volume.integrate(image, pinhole, pose)
    found = volume.extract_triangle_mesh()
    mesh = Mesh(np.asarray(found.vertices), np.asarray(found.triangles).astype(np.int64))
    if len(mesh.faces) == 0:
        raise InputError(
            f"no surface in the depths of {len(scene.splits['train'])} views: no ray has an opacity of {SEEN} in the "
            "box. Train longer, or look at the renders"
        )
    colored = Mesh(mesh.vertices, mesh.faces, np.asarray(found.vertex_colors) if settings.colors else None)
    mesh = finished(largest_components(colored, settings.clusters), scene, settings)
    return to_world(mesh, scene.to_world)


def _camera(o3d: Any, cameras: Cameras, view: int, name: str) -> tuple[Any, Float[np.ndarray, "4 4"]]:
    """Open3D's camera of a view, whose pixels have their centres at whole numbers, and its world-to-camera pose."""
    K = cameras.K[view].double().cpu().numpy()
    height, width = cameras.hw[view].tolist()
    if abs(K[0, 1] / K[1, 1]) * height > MOST_SKEW:
        raise InputError(
            f"export.method=tsdf: the camera of view '{name}' has skew ({K[0, 1]:g}), which Open3D's have not: use "
            "export.method=field"
        )
    centre = K[:2, 2] - cameras.pixel_centre
    pinhole = o3d.camera.PinholeCameraIntrinsic(width, height, K[0, 0], K[1, 1], centre[0], centre[1])
    pose = np.eye(4)
    pose[:3] = cameras.c2w[view].double().cpu().numpy()
    return pinhole, np.linalg.inv(pose)


def _depth(
    cameras: Cameras, view: int, distance: Float[np.ndarray, "h w"], radius: float
) -> Float[np.ndarray, "h w"]:
    """Depth along the optical axis of distances along rays; 0 where the point lies outside the box."""
    K, c2w = (x[view].double().cpu().numpy() for x in (cameras.K, cameras.c2w))
    row, col = np.indices(distance.shape) + cameras.pixel_centre
    rays = np.stack([col, row, np.ones_like(col)], -1) @ np.linalg.inv(K).T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    points = (distance[..., None] * rays) @ c2w[:, :3].T + c2w[:, 3]
    inside = (np.abs(points) <= radius).all(-1)
    return np.where(inside, distance * rays[..., 2], 0.0)
