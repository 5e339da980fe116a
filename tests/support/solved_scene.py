"""A reconstruction without pycolmap: the demo's cameras and surface points, in world units of their own."""

from pathlib import Path

import numpy as np
from PIL import Image

from isosweep.prepare.reconstruction import Reconstruction
from isosweep.prepare.writers import mask_name
from tests.support.scenes import tiny_demo

SCALE, SHIFT = 2.5, np.array([10.0, -4.0, 3.0])
"""World units of the demo's unit, and where its origin lies."""


def matrix() -> np.ndarray:
    found = np.diag([SCALE, SCALE, SCALE, 1.0])
    found[:3, 3] = SHIFT
    return found


def solved_demo(n: int = 8) -> Reconstruction:
    """The tiny demo's training views; 400 surface points, each seen where a view frames it (no occlusion)."""
    demo = tiny_demo()
    c2w = demo.c2w[:n].copy()
    c2w[:, :, 3] = c2w[:, :, 3] * SCALE + SHIFT
    world = (demo.vertices - demo.to_world[:3, 3]) @ np.linalg.inv(demo.to_world[:3, :3]).T
    points = world[:: len(world) // 400][:400] * SCALE + SHIFT
    K = demo.K.copy()
    K[:2, 2] += (0.7, -0.4)  # a principal point off the middle
    bare = Reconstruction(
        names=tuple(f"img_{v:03d}.jpg" for v in range(n)),
        hw=np.full((n, 2), 32),
        K=np.repeat(K[None], n, 0),
        c2w=c2w,
        camera=np.ones(n, np.int64),
        xyz=points,
        rgb=np.full((len(points), 3), 120, np.uint8),
        error=np.full(len(points), 0.5),
        seen_view=np.zeros(0, np.int64),
        seen_point=np.zeros(0, np.int64),
        seen_xy=np.zeros((0, 2)),
    )
    views, seen, xy = [], [], []
    for v in range(n):
        own = np.flatnonzero(bare.in_image(v, points))
        views.append(np.full(len(own), v))
        seen.append(own)
        xy.append(bare.project(v, points[own])[0])
    return Reconstruction(
        **{
            **vars(bare),
            "seen_view": np.concatenate(views),
            "seen_point": np.concatenate(seen),
            "seen_xy": np.concatenate(xy),
        }
    )


def write_images(out: Path, recon: Reconstruction, masked: bool) -> None:
    """images/ and masks/, as undistort.py leaves them."""
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)
    for v, name in enumerate(recon.names):
        rgba = tiny_demo().rgba[v]
        Image.fromarray(rgba[..., :3]).save(out / "images" / name, quality=95)
        if masked:
            Image.fromarray(rgba[..., 3]).save(out / "masks" / mask_name(name))
