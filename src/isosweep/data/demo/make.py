"""Renders a solid of the demo and writes it in the layout of NeRF-synthetic or of NeuS.

Axes: V views, h and w pixels of a view.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from isosweep.data.demo.render import render_views
from isosweep.data.demo.scenes import SOLIDS, Solid, normals
from isosweep.data.demo.tracing import REACH, single_threaded
from isosweep.geometry import look_at, opencv_to_opengl
from isosweep.types import Cameras


@dataclass(frozen=True)
class Demo:
    """A rendered solid: RGBA views with cameras in normalised units, and its exact surface in world units."""

    name: str
    genus: int
    K: np.ndarray
    """[3, 3], half-pixel centres."""
    c2w: np.ndarray
    """[V, 3, 4] OpenCV camera-to-world, normalised units."""
    rgba: np.ndarray
    """uint8 [V, h, w, 4], straight alpha."""
    splits: dict[str, range]
    """Split -> its views, in order train, val, test."""
    to_world: np.ndarray
    """[4, 4] similarity from normalised to world points."""
    vertices: np.ndarray
    """[n, 3] world units."""
    faces: np.ndarray
    """[m, 3] indices of vertices."""


def world_matrix() -> np.ndarray:
    """``to_world`` of the demo: scale 2.5, a rotation by 0.5 rad about (1, 2, 3), and a shift.

    It is far from the identity, so that forgetting to apply it shows.
    """
    axis = np.array([1.0, 2.0, 3.0]) / math.sqrt(14.0)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + math.sin(0.5) * cross + (1 - math.cos(0.5)) * cross @ cross
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 2.5 * rotation, [10.0, -4.0, 3.0]
    return matrix


def make(
    name: str,
    n_train: int = 40,
    n_val: int = 4,
    n_test: int = 8,
    size: int = 128,
    supersample: int = 4,
    mesh_resolution: int = 256,
) -> Demo:
    """Render one of the solids. A pixel is the mean of ``supersample`` x ``supersample`` rays.

    With one ray a pixel, edges would be hard; no field can reproduce those, which would bound the PSNR.

    Args:
        name: a key of `isosweep.data.demo.scenes.SOLIDS`.
        n_train, n_val, n_test: numbers of views.
        size: height and width of the images, pixels.
        mesh_resolution: cells along a side of the grid for the exact surface.
    """
    solid = SOLIDS[name]
    c2w = np.concatenate([_orbit(n, phase) for n, phase in ((n_train, 0.0), (n_val, 0.7), (n_test, 1.9))])
    focal = 0.5 * size / math.tan(math.asin(REACH / 3.0))
    K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    cameras = Cameras(
        torch.tensor(c2w, dtype=torch.float32),
        torch.tensor(K, dtype=torch.float32).expand(len(c2w), 3, 3),
        torch.full((len(c2w), 2), size),
        0.5,
    )
    rgba = render_views(solid, cameras, supersample)
    ends = np.cumsum([0, n_train, n_val, n_test])
    splits = {s: range(ends[i], ends[i + 1]) for i, s in enumerate(("train", "val", "test"))}
    vertices, faces = exact_mesh(solid, mesh_resolution)
    world = world_matrix()
    vertices = vertices @ world[:3, :3].T + world[:3, 3]
    return Demo(name, solid.genus, K, c2w, rgba, splits, world, vertices, faces)


def _orbit(n: int, phase: float) -> np.ndarray:
    """Camera poses [n, 3, 4] on a sphere of radius 3: elevations from 80 to -45 degrees in equal steps, azimuths that
    grow by the golden angle.

    Equal steps of elevation give more views from above than equal areas would. Those see into hollow objects.
    """
    poses = []
    for i in range(n):
        height = math.radians(80 - 125 * (i + 0.5) / n)
        angle, flat = phase + i * 2.399963, math.cos(height)
        eye = 3.0 * np.array([flat * math.cos(angle), flat * math.sin(angle), math.sin(height)])
        poses.append(look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0])))
    return np.stack(poses) if poses else np.zeros((0, 3, 4))


def exact_mesh(solid: Solid, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [n, 3] in normalised units and faces [m, 3] of a solid's surface.

    Marching cubes over [-1, 1]^3; Newton steps in float64 then move the vertices onto the surface.
    """
    from skimage.measure import marching_cubes

    step = 2 / resolution
    # the grid is shifted by a part of a cell: on a symmetric grid the surface passes through grid points, and
    # marching cubes makes triangles without area there
    first = -1 + 0.37 * step
    axis = torch.arange(resolution) * step + first
    y, z = torch.meshgrid(axis, axis, indexing="ij")
    with single_threaded():
        grid = np.stack([solid.sdf(x.expand_as(y), y, z).numpy() for x in axis])
    corners, faces, _, _ = marching_cubes(grid, 0.0, spacing=(step,) * 3, gradient_direction="descent")
    x, y, z = torch.from_numpy(corners.astype(np.float64) + first).T.contiguous()
    for _ in range(4):
        a, b, c, slope = normals(solid, x, y, z)
        move = solid.sdf(x, y, z) / slope
        x, y, z = x - move * a, y - move * b, z - move * c
    return torch.stack([x, y, z], -1).numpy(), faces.astype(np.int64)


def write_blender(folder: Path, demo: Demo) -> None:
    """Write transforms_*.json, RGBA images, mesh.ply (world units) and demo.json (name, genus, to_world)."""
    angle = 2 * math.atan(0.5 * demo.rgba.shape[2] / demo.K[0, 0])
    for split, views in demo.splits.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        frames = []
        for i, v in enumerate(views):
            Image.fromarray(demo.rgba[v]).save(folder / split / f"r_{i}.png")
            pose = np.vstack([opencv_to_opengl(demo.c2w[v]), [0, 0, 0, 1]])
            frames.append({"file_path": f"./{split}/r_{i}", "transform_matrix": pose.tolist()})
        if frames:
            text = json.dumps({"camera_angle_x": angle, "frames": frames}, indent=1)
            (folder / f"transforms_{split}.json").write_text(text)
    write_mesh(folder / "mesh.ply", demo)
    meta = {"name": demo.name, "genus": demo.genus, "to_world": demo.to_world.tolist()}
    (folder / "demo.json").write_text(json.dumps(meta, indent=1))


def write_neus(folder: Path, demo: Demo, masks: bool = True) -> None:
    """Write image/, mask/, cameras_sphere.npz with the demo's ``to_world`` as scale_mat, and gt/mesh.ply.

    Images are composited over black, as in photographs of an object in a dark room. Masks are 0 or 255, as masks
    that people draw are. Only the training views are written.
    """
    for name in ("image", "mask", "gt") if masks else ("image", "gt"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    K = demo.K.copy()
    K[:2, 2] -= 0.5  # the first pixel's centre is 0 in this layout
    cameras = {}
    for i, v in enumerate(demo.splits["train"]):
        rgba = demo.rgba[v].astype(np.float32)
        on_black = (rgba[..., :3] * rgba[..., 3:] / 255).round().astype(np.uint8)
        Image.fromarray(on_black).save(folder / "image" / f"{i:03d}.png")
        if masks:
            inside = np.where(demo.rgba[v][..., 3] >= 128, np.uint8(255), np.uint8(0))
            Image.fromarray(inside).save(folder / "mask" / f"{i:03d}.png")
        rotation = demo.c2w[v][:, :3].T
        view = np.eye(4)
        view[:3] = K @ np.column_stack([rotation, -rotation @ demo.c2w[v][:, 3]])
        cameras[f"world_mat_{i}"] = view @ np.linalg.inv(demo.to_world)
        cameras[f"scale_mat_{i}"] = demo.to_world
    np.savez(folder / "cameras_sphere.npz", **cameras)
    write_mesh(folder / "gt" / "mesh.ply", demo)


def write_mesh(path: Path, demo: Demo) -> None:
    """Write the exact surface as a binary ply in world units."""
    import trimesh

    trimesh.Trimesh(demo.vertices, demo.faces, process=False).export(path)
