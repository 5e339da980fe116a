"""Folders of images with a text of the pose for each (NSVF, DeepVoxels, ScanNet ...), and a camera worked by hand.

The camera stands at (4, 1, 2) and looks along -x; its x axis is the world's +y, its y axis (down) the world's -z. With
f = 50 and the centre (32, 24) of 64x48 pixels, pixel (column 47, row 35) lies at (0.31, 0.23, 1) in camera axes:
(47.5 - 32) / 50 and (35.5 - 24) / 50. In the world that is (-1, 0.31, -0.23).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from isosweep.geometry import pixel_rays, similarity_scale
from isosweep.geometry import to_world as in_world
from isosweep.types import Scene
from tests.support.captures import demo_lens, world_poses
from tests.support.scenes import tiny_demo

POSE = np.array([[0, 0, -1, 4], [1, 0, 0, 1], [0, -1, 0, 2], [0, 0, 0, 1.0]])
K = np.array([[50, 0, 32, 0], [0, 50, 24, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
SIZE = (64, 48)
PIXEL = (35, 47)
"""Row and column."""
DIRECTION = np.array([-1, 0.31, -0.23])


def write_matrix(file: Path, matrix: np.ndarray, line: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [" ".join(repr(float(v)) for v in row) for row in matrix]
    file.write_text((" " if line else "\n").join(rows) + "\n")


def write_view(
    scene: Path,
    name: str,
    pose: np.ndarray = POSE,
    *,
    rgb: str = "rgb",
    size: tuple[int, int] = SIZE,
    mode: str = "RGB",
) -> None:
    """An image of one colour, and its pose."""
    (scene / rgb).mkdir(parents=True, exist_ok=True)
    Image.new(mode, SIZE, (90, 120, 150, 255)[: len(mode)]).save(scene / rgb / name)
    write_matrix(scene / "pose" / f"{Path(name).stem}.txt", pose)


def around(n: int) -> list[np.ndarray]:
    """Poses of n cameras that stand on a circle around the origin and look at it; the first is no hand-worked one."""
    poses = []
    for i in range(n):
        angle = 2 * np.pi * i / n
        ahead = -np.array([np.cos(angle), np.sin(angle), 0.2]) / np.sqrt(1.04)
        right = np.cross(ahead, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(ahead, right), ahead, -4 * ahead], 1)
        poses.append(pose)
    return poses


def world_ray(scene: Scene, name: str, pixel: tuple[int, int] = PIXEL) -> tuple[np.ndarray, np.ndarray]:
    """Origin and direction in the world of a pixel's ray; the direction has the length of the hand-worked one."""
    view = scene.names.index(name)
    row, col = (torch.tensor([p]) for p in pixel)
    rays = pixel_rays(scene.cameras, torch.tensor([view]), row, col, torch.zeros(3))
    rotation = scene.to_world[:3, :3] / similarity_scale(scene.to_world)
    direction = rotation @ rays.dirs[0].double().numpy()
    return in_world(rays.origins.double().numpy(), scene.to_world)[0], direction


def check_hand_worked(scene: Scene, name: str, pixel: tuple[int, int] = PIXEL) -> None:
    """The ray of the camera above, to 0.001 pixels (2e-5 of f)."""
    origin, direction = world_ray(scene, name, pixel)
    np.testing.assert_allclose(origin, [4, 1, 2], atol=2e-5)
    np.testing.assert_allclose(direction, DIRECTION / np.linalg.norm(DIRECTION), atol=1e-5)


def demo_views(n: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """RGBA image and world pose [4, 4] of the tiny demo's training views."""
    demo = tiny_demo()
    poses = [np.vstack([pose, [0, 0, 0, 1]]) for pose in world_poses(demo)]
    return [(demo.rgba[v], pose) for v, pose in zip(demo.splits["train"], poses, strict=True)][:n]


def demo_K() -> np.ndarray:
    """Intrinsics [4, 4] of the tiny demo."""
    matrix = np.eye(4)
    matrix[:3, :3] = demo_lens(tiny_demo()).K
    return matrix


def write_demo_view(scene: Path, name: str, rgba: np.ndarray, pose: np.ndarray, rgb: str = "rgb") -> None:
    (scene / rgb).mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgba if name.endswith(".png") else rgba[..., :3]).save(scene / rgb / name)
    write_matrix(scene / "pose" / f"{Path(name).stem}.txt", pose)


def names_of(scene: Scene, split: str) -> Sequence[str]:
    return [scene.names[i] for i in scene.splits[split]]
