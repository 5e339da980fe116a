"""The visual hull on a coarse grid, and how much of the foreground lies inside the scene's sphere.

The visual hull is the set of points that project onto the mask in every view that has them in its image.
Axes: G cells. Lengths have the unit of the reconstruction that is given.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from isosweep.prepare.reconstruction import Reconstruction

CELLS = 56
"""Cells along each side of the grid."""
GRID_SIZE = 2.0
"""Half the side of the grid divided by the sphere's radius."""
TOLERATED = 0.05
"""Share of the views whose masks may exclude a cell of the hull, so that one bad mask does not empty it."""
MIN_VIEWS = 0.5
"""A cell counts only if at least this share of the views has it in the image."""


@dataclass(frozen=True)
class Hull:
    """The cells of the hull, compared with the sphere that they were carved around."""

    centres: Float[np.ndarray, "g 3"]
    """Centres of the cells."""
    cell: float
    """Side of a cell."""
    in_sphere: float
    """Share of the cells inside the sphere; nan for an empty hull."""
    in_box: float
    """Share of the cells inside the cube around the sphere; nan for an empty hull."""
    reach: float
    """Distance of the farthest cell from the sphere's centre, divided by the radius; 0 for an empty hull."""
    clipped: bool
    """True if the hull touches the border of the grid. It may then be larger than the values here say."""
    covered: float
    """Share of the cells inside the sphere that enough views have in the image."""

    @property
    def empty(self) -> bool:
        return len(self.centres) == 0


def visual_hull(
    recon: Reconstruction,
    masks: Mapping[int, Bool[np.ndarray, "h w"]],
    centre: Float[np.ndarray, "3"],
    radius: float,
    cells: int = CELLS,
) -> Hull:
    """Carve the visual hull out of a cube around a sphere.

    A cell stays if at least half of the views have its centre in the image and at most 5% of these show it
    outside the mask. Masks are dilated by half a cell first, so that a part thinner than a cell is not lost
    between two centres.

    Args:
        masks: view -> foreground, at any resolution with the aspect ratio of the image.
        centre: of the sphere.
        radius: of the sphere. The cube's half side is twice as long.
        cells: along each side of the cube.
    """
    from scipy.ndimage import maximum_filter

    half = GRID_SIZE * radius
    step = 2 * half / cells
    axis = (np.arange(cells) + 0.5) * step - half
    offsets = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    points = offsets + centre
    in_image, off_mask = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
    for view, mask in masks.items():
        xy, depth = recon.project(view, points)
        h, w = recon.hw[view]
        seen = np.flatnonzero((depth > 0) & (xy >= 0).all(1) & (xy[:, 0] < w) & (xy[:, 1] < h))
        to_camera = np.linalg.norm(centre - recon.c2w[view, :, 3])
        pixels = int(np.ceil(0.5 * step / max(to_camera, 1e-9) * recon.K[view, 0, 0] * (mask.shape[1] / w)))
        dilated = np.asarray(maximum_filter(mask, size=2 * min(pixels, 64) + 1), bool)
        in_image[seen] += 1
        off_mask[seen] += ~sample_mask(dilated, xy[seen], recon.hw[view])
    covered = in_image >= max(1, MIN_VIEWS * len(masks))
    kept = covered & (off_mask <= TOLERATED * in_image)
    hull = offsets[kept]
    distance = np.linalg.norm(hull, axis=1) / radius
    in_ball = np.linalg.norm(offsets, axis=1) <= radius
    return Hull(
        centres=points[kept],
        cell=float(step),
        in_sphere=float((distance <= 1).mean()) if len(hull) else float("nan"),
        in_box=float((np.abs(hull) <= radius).all(1).mean()) if len(hull) else float("nan"),
        reach=float(distance.max()) if len(hull) else 0.0,
        clipped=bool((np.abs(hull) > half - 1.5 * step).any()),
        covered=float(covered[in_ball].mean()),
    )


def sample_mask(
    mask: Bool[np.ndarray, "h w"], xy: Float[np.ndarray, "n 2"], hw: Int[np.ndarray, "2"]
) -> Bool[np.ndarray, " n"]:
    """The mask's values at pixels (x, y) of an image of height and width ``hw``; the nearest pixel of the mask."""
    h, w = hw
    place = (xy * [mask.shape[1] / w, mask.shape[0] / h]).astype(int)
    col, row = np.minimum(place, [mask.shape[1] - 1, mask.shape[0] - 1]).T
    return mask[row, col]


def share_outside_sphere(
    recon: Reconstruction, masks: Mapping[int, Bool[np.ndarray, "h w"]], radius: float
) -> dict[int, float]:
    """View -> share of its foreground pixels whose rays miss the sphere around the origin.

    Nothing is reconstructed at these pixels. Unlike the hull, this measure also works if all cameras stand on
    one side of the object. Views with an empty mask are left out.
    """
    found = {}
    for view, mask in masks.items():
        row, col = np.nonzero(mask)
        if not len(row):
            continue
        h, w = recon.hw[view]
        pixels = np.stack(
            [(col + 0.5) * w / mask.shape[1], (row + 0.5) * h / mask.shape[0], np.ones(len(row))], -1
        )
        rays = pixels @ np.linalg.inv(recon.K[view]).T @ recon.c2w[view, :, :3].T
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        eye = recon.c2w[view, :, 3]
        along = -(rays @ eye)
        nearest = np.linalg.norm(eye + along[:, None] * rays, axis=1)
        hit = (nearest <= radius) & ((along > 0) | (np.linalg.norm(eye) <= radius))
        found[view] = float(1 - hit.mean())
    return found
