"""The layout of LLFF: images/ and poses_bounds.npy. See `isosweep.data.llff` for its rows.

It has one focal length a view and no principal point, so what a camera has beyond that is lost; layout.py says so.
"""

import io
from pathlib import Path

import numpy as np

from isosweep.prepare.reconstruction import Reconstruction
from isosweep.prepare.writers import Tick
from isosweep.runtime.files import atomic_write_bytes

CLOSE = 0.05
"""The nearest depth is at least this share of a camera's distance from the origin."""


def write_llff(
    out: Path,
    recon: Reconstruction,
    to_world: np.ndarray,
    masked: bool,
    test_every: int | frozenset[int],
    workers: int,
    tick: Tick,
) -> list[Path]:
    """Write poses_bounds.npy beside images/, with the signature of `isosweep.prepare.writers`.

    The depths that a view sees are those of the ball of radius sqrt(3) around the origin, which holds the unit box.
    """
    rows = []
    for v in range(len(recon)):
        c2w, K, (h, w) = recon.c2w[v], recon.K[v], recon.hw[v].tolist()
        right, down, forward, centre = (c2w[:, i] for i in range(4))
        pose = np.stack([down, right, -forward, centre, [h, w, K[0, 0]]], 1)
        depth, radius = float(-centre @ forward), float(np.sqrt(3))
        least = CLOSE * max(float(np.linalg.norm(centre)), 1.0)
        near = max(depth - radius, least)
        rows.append([*pose.ravel(), near, max(depth + radius, 2 * near)])
        tick()
    buffer = io.BytesIO()
    np.save(buffer, np.array(rows))
    atomic_write_bytes(out / "poses_bounds.npy", buffer.getvalue())
    return [out / "poses_bounds.npy"]
