"""Captures on disk as COLMAP, LLFF and nerfstudio lay them out, of the tiny demo or of plain pictures."""

import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from isosweep.data.demo.make import Demo
from isosweep.data.lens import MODELS, Lens
from isosweep.geometry import opencv_to_opengl, similarity_scale, to_world
from tests.support.scenes import tiny_demo

Cameras = dict[int, Lens]


def world_poses(demo: Demo) -> np.ndarray:
    """OpenCV camera-to-world of the training views in the demo's world."""
    pose = demo.c2w[list(demo.splits["train"])]
    scale = similarity_scale(demo.to_world)
    rotation = demo.to_world[:3, :3] / scale
    return np.concatenate([rotation @ pose[:, :, :3], to_world(pose[:, :, 3], demo.to_world)[:, :, None]], 2)


def demo_lens(demo: Demo) -> Lens:
    h, w = demo.rgba.shape[1:3]
    return Lens("PINHOLE", w, h, (demo.K[0, 0], demo.K[1, 1], demo.K[0, 2], demo.K[1, 2]))


def write_images(folder: Path, demo: Demo, alpha: bool = False) -> list[str]:
    """The training views as view_<i>.png, in order of the names."""
    folder.mkdir(parents=True)
    names = []
    for i, v in enumerate(demo.splits["train"]):
        names.append(f"view_{i}.png")
        Image.fromarray(demo.rgba[v] if alpha else demo.rgba[v][..., :3]).save(folder / names[-1])
    return names


def observe(lens: Lens, c2w: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the points that a camera sees, and their rows."""
    local = (points - c2w[:, 3]) @ c2w[:, :3]
    xy = lens.project(local[:, :2] / local[:, 2:])
    ok = (local[:, 2] > 0) & (xy > 0).all(1) & (xy < [lens.width, lens.height]).all(1)
    return xy[ok], np.flatnonzero(ok)


def write_model(
    folder: Path,
    cameras: Cameras,
    images: list[tuple[str, int, np.ndarray]],
    points: np.ndarray,
    binary: bool = True,
) -> None:
    """A sparse model of (name, camera, world c2w) and points with exact observations. Point ids start at 7."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = [observe(cameras[camera], c2w, points) for _, camera, c2w in images]
    tracks = [[(v + 1, int(np.flatnonzero(rows == p)[0])) for v, (_, rows) in enumerate(seen) if p in rows]
              for p in range(len(points))]  # fmt: skip
    poses = []
    for _, _, c2w in images:
        x, y, z, w = Rotation.from_matrix(c2w[:, :3].T).as_quat()
        poses.append([w, x, y, z, *(-c2w[:, :3].T @ c2w[:, 3])])
    if binary:
        out = struct.pack("<Q", len(cameras))
        for key, lens in cameras.items():
            out += struct.pack("<iiQQ", key, MODELS[lens.model].id, lens.width, lens.height)
            out += struct.pack(f"<{len(lens.params)}d", *lens.params)
        (folder / "cameras.bin").write_bytes(out)
        out = struct.pack("<Q", len(images))
        for v, (name, camera, _) in enumerate(images):
            out += struct.pack("<I7dI", v + 1, *poses[v], camera) + name.encode() + b"\0"
            out += struct.pack("<Q", len(seen[v][0]))
            for (x, y), row in zip(*seen[v], strict=True):
                out += struct.pack("<ddq", x, y, row + 7)
        (folder / "images.bin").write_bytes(out)
        out = struct.pack("<Q", len(points))
        for p, xyz in enumerate(points):
            out += struct.pack("<Q3d3BdQ", p + 7, *xyz, 1, 2, 3, 0.5, len(tracks[p]))
            out += b"".join(struct.pack("<II", *one) for one in tracks[p])
        (folder / "points3D.bin").write_bytes(out)
        return
    lines = [f"{key} {lens.model} {lens.width} {lens.height} {' '.join(repr(float(p)) for p in lens.params)}"
             for key, lens in cameras.items()]  # fmt: skip
    (folder / "cameras.txt").write_text("# comment\n" + "\n".join(lines) + "\n")
    lines = ["# comment", "# another"]
    for v, (name, camera, _) in enumerate(images):
        lines.append(f"{v + 1} {' '.join(repr(float(p)) for p in poses[v])} {camera} {name}")
        lines.append(
            " ".join(f"{float(x)!r} {float(y)!r} {row + 7}" for (x, y), row in zip(*seen[v], strict=True))
        )
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    lines = [f"{p + 7} {' '.join(repr(float(c)) for c in xyz)} 1 2 3 0.5 " + " ".join(f"{a} {b}" for a, b in tracks[p])
             for p, xyz in enumerate(points)]  # fmt: skip
    (folder / "points3D.txt").write_text("\n".join(lines) + "\n")


def demo_points(demo: Demo, n: int = 60) -> np.ndarray:
    """World points on the demo's surface."""
    step = max(1, len(demo.vertices) // n)
    return np.asarray(demo.vertices[::step][:n], np.float64)


def tiny_colmap(folder: Path, binary: bool = True, alpha: bool = False) -> Path:
    """The tiny demo's training views as a COLMAP scene in its world units at ``folder``/mug."""
    demo, scene = tiny_demo(), folder / "mug"
    names = write_images(scene / "images", demo, alpha)
    poses = world_poses(demo)
    images = [(name, 1, pose) for name, pose in zip(names, poses, strict=True)]
    write_model(scene / "sparse" / "0", {1: demo_lens(demo)}, images, demo_points(demo), binary)
    return scene


def tiny_llff(folder: Path) -> Path:
    """The tiny demo's training views as LLFF in its world units at ``folder``/mug."""
    demo, scene = tiny_demo(), folder / "mug"
    write_images(scene / "images", demo)
    lens = demo_lens(demo)
    rows = []
    for pose in world_poses(demo):
        right, down, ahead, place = pose.T
        depth = (demo_points(demo) - place) @ ahead
        hwf = [lens.height, lens.width, lens.focal[0]]
        matrix = np.stack([down, right, -ahead, place, np.array(hwf)], 1)
        rows.append([*matrix.ravel(), depth.min(), depth.max()])
    np.save(scene / "poses_bounds.npy", np.array(rows))
    return scene


def tiny_nerfstudio(folder: Path, **more: object) -> Path:
    """The tiny demo's training views as transforms.json in its world units at ``folder``/mug."""
    demo, scene = tiny_demo(), folder / "mug"
    names = write_images(scene / "images", demo)
    lens = demo_lens(demo)
    meta: dict[str, object] = {
        "camera_model": "OPENCV", "fl_x": lens.focal[0], "fl_y": lens.focal[1], "cx": lens.centre[0],
        "cy": lens.centre[1], "w": lens.width, "h": lens.height, "k1": 0.0, "k2": 0, "p1": 0, "p2": 0,
    }  # fmt: skip
    frames = []
    for name, pose in zip(names, world_poses(demo), strict=True):
        matrix = np.vstack([opencv_to_opengl(pose), [0, 0, 0, 1]])
        frames.append({"file_path": f"images/{name}", "transform_matrix": matrix.tolist()})
    (scene / "transforms.json").write_text(json.dumps({**meta, "frames": frames, **more}))
    return scene
