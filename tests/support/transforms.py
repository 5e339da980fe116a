"""Small scenes with a transforms json, in the layouts of dataset=nerfstudio and dataset=blender."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from isosweep.types import Scene
from tests.support.loading import load_scene

Json = dict[str, Any]
DIALECTS = ("nerfstudio", "blender")
WIDTH, HEIGHT = 40, 30
SHARED: Json = {"fl_x": 45.0, "fl_y": 45.0, "cx": 20.0, "cy": 15.0, "w": WIDTH, "h": HEIGHT}
"""A pin-hole camera for images of `WIDTH` x `HEIGHT`."""


def pose(i: int, n: int = 9) -> np.ndarray:
    """OpenGL camera-to-world [4, 4] of view ``i`` of ``n`` on a circle around the origin, which it looks at."""
    angle = 2 * np.pi * i / n
    eye = np.array([3 * np.cos(angle), 3 * np.sin(angle), 0.4 + 0.1 * i])
    back = eye / np.linalg.norm(eye)
    right = np.cross([0, 0, 1.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(back, right), back, eye], 1)
    return matrix


def ramp(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """An image that tells where a pixel is: red is 6 x, green 6 y and blue 128, x and y counted from the corner."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return Image.fromarray(np.stack([6 * x, 6 * y, 0 * x + 128], 2).round().astype(np.uint8))


def file_of(dialect: str, split: str = "train") -> str:
    """The name of the json with the training views, or of another split's."""
    return "transforms.json" if dialect == "nerfstudio" and split == "train" else f"transforms_{split}.json"


def write_scene(
    folder: Path,
    dialect: str,
    meta: Mapping[str, Any] = SHARED,
    frame: Callable[[int], Mapping[str, Any]] = lambda i: {},
    paths: Sequence[str] | None = None,
    image: Image.Image | None = None,
) -> Path:
    """Write images and the json of the training views; returns the scene's folder.

    Args:
        meta: the values that all frames share.
        frame: more values of frame i; None as a value takes one away.
        paths: the files of the images, as the json names them; there are as many views.
    """
    scene = folder / "made"
    if paths is None:
        paths = [f"{'images' if dialect == 'nerfstudio' else 'train'}/{i:03d}.png" for i in range(9)]
    frames = []
    for i, path in enumerate(paths):
        (scene / path).parent.mkdir(parents=True, exist_ok=True)
        (image or ramp()).save(scene / path)
        values = {"file_path": path, "transform_matrix": pose(i).tolist(), **frame(i)}
        frames.append({key: value for key, value in values.items() if value is not None})
    (scene / file_of(dialect)).write_text(json.dumps({**meta, "frames": frames}))
    return scene


def few(dialect: str) -> list[str]:
    """The paths of three views, for tests of what all views share."""
    return [f"{'images' if dialect == 'nerfstudio' else 'train'}/{i:03d}.png" for i in range(3)]


def edit(file: Path, change: Callable[[Json], object]) -> None:
    """Change a json on disk."""
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))


def load(dialect: str, folder: Path, **settings: Any) -> Scene:
    return load_scene(dialect, "made", path=str(folder), **settings)


def names(scene: Scene) -> dict[str, list[str]]:
    """The views of each split by the stem of their names."""
    return {split: [Path(scene.names[i]).stem for i in views] for split, views in scene.splits.items()}
