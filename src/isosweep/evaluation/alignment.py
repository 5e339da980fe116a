"""Similarities between point sets: in closed form for pairs, and by iterated closest points.

Symbols: T is a similarity [4, 4], y = s R x + t.
Sources: Umeyama 1991; Besl and McKay 1992.
"""

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "n 3"]
Similarity = Float[np.ndarray, "4 4"]
TOLERANCE = 1e-6
"""ICP ends when the share of pairs and their distance change by less than this part."""


def apply(T: Similarity, points: Points) -> Points:
    """The points after T."""
    return points @ T[:3, :3].T + T[:3, 3]


def similarity(x: Points, y: Points, scaled: bool = True) -> Similarity:
    """T with the least sum of |y_i - T x_i|^2 (Umeyama, equations 40 to 43); of scale 1 if not ``scaled``.

    Raises:
        ValueError: there are fewer than three pairs, or all x are one point.
    """
    if len(x) < 3:
        raise ValueError(f"a similarity needs three pairs of points, there are {len(x)}")
    mean_x, mean_y = x.mean(0), y.mean(0)
    a, b = x - mean_x, y - mean_y
    variance = float((a**2).sum(1).mean())
    if variance == 0:
        raise ValueError("all points are one point: no similarity can be found")
    U, D, Vt = np.linalg.svd(b.T @ a / len(x))
    sign = np.ones(3)
    if np.linalg.det(U) * np.linalg.det(Vt) < 0:
        sign[2] = -1
    R = U @ np.diag(sign) @ Vt
    s = float((D * sign).sum()) / variance if scaled else 1.0
    T = np.eye(4)
    T[:3, :3] = s * R
    T[:3, 3] = mean_y - s * R @ mean_x
    return T


def icp(
    source: Points, target: Float[np.ndarray, "m 3"], reach: float, iterations: int, scaled: bool = True
) -> Similarity:
    """T that brings ``source`` to ``target``: pairs of nearest points within ``reach``, then `similarity`, repeated."""
    from scipy.spatial import KDTree

    tree = KDTree(target)
    T = np.eye(4)
    moved: np.ndarray = source
    before: tuple[float, float] | None = None
    for _ in range(iterations):
        distance, nearest = tree.query(moved, distance_upper_bound=reach)
        paired = distance < reach
        if paired.sum() < 3:
            break
        now = (float(paired.mean()), float(np.sqrt((distance[paired] ** 2).mean())))
        if before and all(abs(n - b) <= TOLERANCE * b for n, b in zip(now, before, strict=True)):
            break
        before = now
        T = similarity(moved[paired], target[np.asarray(nearest)[paired]], scaled) @ T
        moved = apply(T, source)
    return T


def thinned(points: Points, voxel: float) -> Float[np.ndarray, "m 3"]:
    """The mean of the points in each voxel of a grid that begins half a voxel below the lowest corner, as in Open3D."""
    cells = np.floor((points - (points.min(0) - voxel / 2)) / voxel).astype(np.int64)
    order = np.lexsort(cells.T)
    cells = cells[order]
    first = np.flatnonzero(np.concatenate([[True], (np.diff(cells, axis=0) != 0).any(1)]))
    count = np.diff(np.concatenate([first, [len(points)]]))
    return np.add.reduceat(points[order], first, axis=0) / count[:, None]
