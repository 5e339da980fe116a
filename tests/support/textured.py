"""A solid with corners all over it, rendered as photographs that features can be found on."""

import functools
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from isosweep.data.demo.render import render_views
from isosweep.data.demo.scenes import Solid, rings
from isosweep.geometry import look_at
from isosweep.types import Cameras

CELLS = 22


def _albedo(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """A colour a cell of a grid, by a hash of its place."""
    ijk = torch.stack([x, y, z]).mul(CELLS).floor().long()
    seed = (ijk[0] * 73856093) ^ (ijk[1] * 19349663) ^ (ijk[2] * 83492791)
    return torch.stack([((seed * k) % 255).abs() / 255 for k in (1, 7, 13)], -1).float()


@functools.cache
def textured_views(n: int = 12, size: int = 320) -> tuple[np.ndarray, np.ndarray, float]:
    """RGBA [n, size, size, 4], poses [n, 3, 4], focal length in pixels; an arc of 100 degrees."""
    poses = []
    for i in range(n):
        angle, height = math.radians(100 * i / n), math.radians(35 + 10 * (i % 2))
        eye = 3.0 * np.array(
            [math.cos(height) * math.cos(angle), math.cos(height) * math.sin(angle), math.sin(height)]
        )
        poses.append(look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0])))
    focal = 1.5 * size
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    cameras = Cameras(
        torch.tensor(np.stack(poses), dtype=torch.float32),
        K.expand(n, 3, 3),
        torch.full((n, 2), size),
        0.5,
    )
    return render_views(Solid(rings, _albedo, 2), cameras, 2), np.stack(poses), focal


def write_photos(folder, n: int = 12, size: int = 320, f35: float | None = None, ending: str = "jpg") -> None:
    """The views on grey as photo_000.jpg ..., with an EXIF focal length where one is given."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, rgba in enumerate(textured_views(n, size)[0]):
        alpha = rgba[..., 3:].astype(np.float32) / 255
        image = Image.fromarray((rgba[..., :3] * alpha + 128 * (1 - alpha)).astype(np.uint8))
        exif = Image.Exif()
        if f35 is not None:
            exif.get_ifd(0x8769)[0xA405] = round(f35)
        image.save(folder / f"photo_{i:03d}.{ending}", quality=95, exif=exif)
