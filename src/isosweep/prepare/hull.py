"""The visual hull on a coarse grid: what the masks of all views leave, and how much of it is in the sphere.

Axes: G cells. Units: those of the cameras that come in, normalised for a scene.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from isosweep.prepare.reconstruction import Solved

CELLS = 56
REACH = 2.0
"""The grid's half side over the sphere's radius."""
WRONG = 0.05
"""Share of views that may disagree, so that one bad mask does not empty the hull."""
SEEN = 0.5
"""Share of the views that must have a cell in their picture for it to be judged."""


@dataclass(frozen=True)
class Hull:
    """Cells whose middle falls on the mask in every view that frames it."""

    centres: Float[np.ndarray, "g 3"]
    cell: float
    in_sphere: float
    """Share of the cells inside the sphere; nan for an empty hull."""
    in_box: float
    reach: float
    """Distance of the farthest cell from the centre, over the radius."""
    clipped: bool
    """True where it touches the border of the grid: it is larger than what is told here."""
    judged: float
    """Share of the sphere's own cells that enough views frame."""

    @property
    def empty(self) -> bool:
        return len(self.centres) == 0


def visual_hull(
    solved: Solved,
    masks: Mapping[int, Bool[np.ndarray, "h w"]],
    centre: Float[np.ndarray, "3"],
    radius: float,
    cells: int = CELLS,
) -> Hull:
    """Carve a cube of twice the radius by the masks (view -> foreground, of any size that scales to the image's).

    Masks are grown by a cell's size in pixels first: a thin part between two cells' middles counts.
    """
    from scipy.ndimage import maximum_filter

    half = REACH * radius
    step = 2 * half / cells
    axis = (np.arange(cells) + 0.5) * step - half
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    points = grid + centre
    framed, outside = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
    for view, mask in masks.items():
        xy, depth = solved.project(view, points)
        h, w = solved.hw[view]
        ok = (depth > 0) & (xy >= 0).all(1) & (xy[:, 0] < w) & (xy[:, 1] < h)
        place = np.flatnonzero(ok)
        scale = np.array([mask.shape[1] / w, mask.shape[0] / h])
        distance = np.linalg.norm(centre - solved.c2w[view, :, 3])
        pixels = int(np.ceil(0.5 * step / max(distance, 1e-9) * solved.K[view, 0, 0] * scale[0]))
        grown = np.asarray(maximum_filter(mask, size=2 * min(pixels, 64) + 1), bool)
        col, row = np.minimum((xy[place] * scale).astype(int), [mask.shape[1] - 1, mask.shape[0] - 1]).T
        framed[place] += 1
        outside[place] += ~grown[row, col]
    judged = framed >= max(1, SEEN * len(masks))
    kept = judged & (outside <= WRONG * framed)
    inside = grid[kept]
    norm = np.linalg.norm(inside, axis=1) / radius
    ball = np.linalg.norm(grid, axis=1) <= radius
    n = max(len(inside), 1)
    return Hull(
        centres=points[kept],
        cell=float(step),
        in_sphere=float((norm <= 1).sum() / n) if len(inside) else float("nan"),
        in_box=float((np.abs(inside) <= radius).all(1).sum() / n) if len(inside) else float("nan"),
        reach=float(norm.max()) if len(inside) else 0.0,
        clipped=bool((np.abs(inside) > half - 1.5 * step).any()),
        judged=float(judged[ball].mean()),
    )


def outside_share(
    solved: Solved, masks: Mapping[int, Bool[np.ndarray, "h w"]], radius: float
) -> dict[int, float]:
    """View -> share of its foreground whose rays miss the sphere about the origin, so that nothing there can
    be reconstructed. Needs no bound on the hull: it holds for cameras on one side, too."""
    found = {}
    for view, mask in masks.items():
        row, col = np.nonzero(mask)
        if not len(row):
            continue
        h, w = solved.hw[view]
        pixels = np.stack(
            [(col + 0.5) * w / mask.shape[1], (row + 0.5) * h / mask.shape[0], np.ones(len(row))], -1
        )
        rays = pixels @ np.linalg.inv(solved.K[view]).T @ solved.c2w[view, :, :3].T
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        eye = solved.c2w[view, :, 3]
        along = -(rays @ eye)
        nearest = np.linalg.norm(eye + along[:, None] * rays, axis=1)
        hit = (nearest <= radius) & ((along > 0) | (np.linalg.norm(eye) <= radius))
        found[view] = float(1 - hit.mean())
    return found
