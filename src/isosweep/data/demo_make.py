"""Renders the demo's solids and writes them in the blender and in the NeuS layout.

Shapes: V views, N pixels of a view.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from isosweep.data.demo_scenes import SOLIDS, Solid, normals, shade
from isosweep.geometry import look_at, opencv_to_opengl, pixel_rays, sphere_hit
from isosweep.types import Cameras

REACH = 0.82
"""Every solid lies inside this radius."""


@dataclass(frozen=True)
class Demo:
    """A rendered demo: RGBA views in normalised coordinates and the exact surface in world units."""

    name: str
    genus: int
    K: np.ndarray
    """[3, 3], half-pixel centres."""
    c2w: np.ndarray
    """[V, 3, 4] OpenCV camera-to-world, normalised units."""
    rgba: np.ndarray
    """uint8 [V, h, w, 4], straight alpha."""
    splits: dict[str, range]
    to_world: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray


def world_matrix() -> np.ndarray:
    """A similarity that nothing can be confused with: scale 2.5, a rotation of 0.5 about (1, 2, 3), a shift."""
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
    mesh_resolution: int = 224,
) -> Demo:
    """Render one of the solids; every pixel is the mean of ``supersample`` squared rays.

    Point-sampled pixels would have hard edges that no field can reproduce and cap the PSNR.
    """
    solid = SOLIDS[name]
    c2w = np.concatenate([_orbit(n, phase) for n, phase in ((n_train, 0.0), (n_val, 0.7), (n_test, 1.9))])
    focal = 0.5 * size / math.tan(math.asin(REACH / 3.0))
    K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    rgba = np.stack([_render(solid, K, pose, size, supersample) for pose in c2w])
    ends = np.cumsum([0, n_train, n_val, n_test])
    splits = {s: range(ends[i], ends[i + 1]) for i, s in enumerate(("train", "val", "test"))}
    vertices, faces = exact_mesh(solid, mesh_resolution)
    world = world_matrix()
    vertices = vertices @ world[:3, :3].T + world[:3, 3]
    return Demo(name, solid.genus, K, c2w, rgba, splits, world, vertices, faces)


def _orbit(n: int, phase: float) -> np.ndarray:
    """Camera poses on a Fibonacci sphere of radius 3, from the zenith to 45 degrees below the horizon."""
    poses = []
    for i in range(n):
        z = 0.96 - (0.96 + math.sin(math.pi / 4)) * (i + 0.5) / n
        angle, flat = phase + i * 2.399963, math.sqrt(1 - z * z)
        eye = 3.0 * np.array([flat * math.cos(angle), flat * math.sin(angle), z])
        poses.append(look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0])))
    return np.stack(poses) if poses else np.zeros((0, 3, 4))


def _render(solid: Solid, K: np.ndarray, pose: np.ndarray, size: int, factor: int) -> np.ndarray:
    """One RGBA view: sphere tracing of all sub-pixels, premultiplied mean, straight alpha."""
    fine = size * factor
    camera = Cameras(
        torch.tensor(pose[None], dtype=torch.float32),
        torch.tensor((K * [[factor], [factor], [1.0]])[None], dtype=torch.float32),
        torch.tensor([[fine, fine]]),
        0.5,
    )
    pixel = torch.arange(fine * fine)
    rays = pixel_rays(camera, torch.zeros_like(pixel), pixel // fine, pixel % fine, torch.zeros(3))
    near, far = sphere_hit(rays, REACH)
    t = torch.where(far > near, near, torch.inf)
    hit = _trace(solid, rays.origins, rays.dirs, t, far)
    points = rays.origins[hit] + t[hit, None] * rays.dirs[hit]
    out = torch.zeros(fine * fine, 4)
    out[hit] = torch.cat(
        [shade(solid, points, normals(solid, points), rays.dirs[hit]), torch.ones(len(points), 1)], -1
    )
    mean = out.reshape(size, factor, size, factor, 4).mean((1, 3))
    straight = mean[..., :3] / mean[..., 3:].clamp_min(1e-6)
    return (torch.cat([straight, mean[..., 3:]], -1) * 255).round().byte().numpy()


def _trace(solid: Solid, origins: Tensor, dirs: Tensor, t: Tensor, far: Tensor) -> Tensor:
    """Advance ``t`` in place to the surface; returns the rays that reach it."""
    active = torch.nonzero(torch.isfinite(t))[:, 0]
    hit = torch.zeros(len(t), dtype=torch.bool)
    for _ in range(160):
        if len(active) == 0:
            break
        step = solid.sdf(origins[active] + t[active, None] * dirs[active])
        t[active] += step
        done = step < 2e-4
        hit[active[done]] = True
        active = active[~done & (t[active] < far[active])]
    return hit


def exact_mesh(solid: Solid, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes in float64, vertices then moved onto the zero set by Newton steps along the normal."""
    from skimage.measure import marching_cubes

    axis = torch.linspace(-1, 1, resolution, dtype=torch.float64)
    slabs = []
    for x in axis.split(16):
        grid = torch.stack(torch.meshgrid(x, axis, axis, indexing="ij"), -1)
        slabs.append(solid.sdf(grid.reshape(-1, 3)).reshape(grid.shape[:3]))
    vertices, faces, _, _ = marching_cubes(torch.cat(slabs).numpy(), 0.0, gradient_direction="descent")
    points = torch.from_numpy(vertices.astype(np.float64)) * (2 / (resolution - 1)) - 1
    for _ in range(4):
        points = points - solid.sdf(points)[:, None] * normals(solid, points)
    return points.numpy(), faces.astype(np.int64)


def write_blender(folder: Path, demo: Demo) -> None:
    """transforms_*.json, RGBA images, mesh.ply (world units) and demo.json (to_world, genus)."""
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
    """image/, mask/, cameras_sphere.npz with the demo's similarity as scale_mat, gt/mesh.ply.

    Images are composited on black, as photographs of an object in a dark room.
    """
    for name in ("image", "mask", "gt") if masks else ("image", "gt"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    K = demo.K.copy()
    K[:2, 2] -= 0.5  # integer pixel centres
    cameras = {}
    for i, v in enumerate(demo.splits["train"]):
        rgba = demo.rgba[v].astype(np.float32)
        on_black = (rgba[..., :3] * rgba[..., 3:] / 255).round().astype(np.uint8)
        Image.fromarray(on_black).save(folder / "image" / f"{i:03d}.png")
        if masks:
            Image.fromarray(demo.rgba[v][..., 3]).save(folder / "mask" / f"{i:03d}.png")
        rotation = demo.c2w[v][:, :3].T
        view = np.eye(4)
        view[:3] = K @ np.column_stack([rotation, -rotation @ demo.c2w[v][:, 3]])
        cameras[f"world_mat_{i}"] = view @ np.linalg.inv(demo.to_world)
        cameras[f"scale_mat_{i}"] = demo.to_world
    np.savez(folder / "cameras_sphere.npz", **cameras)
    write_mesh(folder / "gt" / "mesh.ply", demo)


def write_mesh(path: Path, demo: Demo) -> None:
    """The exact surface as a binary ply in world units."""
    import trimesh

    trimesh.Trimesh(demo.vertices, demo.faces, process=False).export(path)
