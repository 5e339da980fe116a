"""The part of the world that is reconstructed: a robust box and sphere, without a hand in it.

Axes: P points, V views. World units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from isosweep.prepare.hull import visual_hull
from isosweep.prepare.reconstruction import Solved

MOST = 0.8
"""A point counts where at least this share of the cameras has it in the picture."""
FEWEST = 50
"""Points below which the share is lowered."""
NEIGHBOURS = 8
ISOLATED = 4.0
"""Mean distance to the neighbours, in medians, above which a point is noise."""
TRIM = 1.0
"""Percent cut off each side of each axis."""


@dataclass(frozen=True)
class Region:
    """A box, the sphere that becomes the unit sphere, and where they come from."""

    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]
    centre: Float[np.ndarray, "3"]
    radius: float
    """Of the sphere, margin included."""
    why: str

    @property
    def to_world(self) -> Float[np.ndarray, "4 4"]:
        """Normalised units to world units: scale and shift, no rotation, as NeuS' scale_mat is read by all."""
        matrix = np.diag([self.radius, self.radius, self.radius, 1.0])
        matrix[:3, 3] = self.centre
        return matrix


def framed_share(solved: Solved, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Share of the cameras that have each point in their picture, occluded or not."""
    count = np.zeros(len(points))
    for view in range(len(solved)):
        count += solved.framed(view, points)
    return count / max(len(solved), 1)


def isolated(points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """True for points far from their neighbours, compared with how far others are from theirs."""
    from scipy.spatial import KDTree

    if len(points) <= NEIGHBOURS:
        return np.zeros(len(points), bool)
    distance = KDTree(points).query(points, k=NEIGHBOURS + 1)[0][:, 1:].mean(1)
    return distance > ISOLATED * np.median(distance)


def region_of_points(
    solved: Solved, foreground: Bool[np.ndarray, " p"] | None, margin: float
) -> tuple[Region, Bool[np.ndarray, " p"]]:
    """The region of the points that most cameras have in the picture, and which points those are.

    Args:
        foreground: points that the masks allow; None without masks.

    Raises:
        ValueError: too few points to say where the scene is.
    """
    if len(solved.xyz) < 10:
        raise ValueError(
            f"the reconstruction has {len(solved.xyz)} points, too few to say where the scene is: give --box or "
            "--sphere, or photographs that overlap more"
        )
    share = framed_share(solved, solved.xyz)
    allowed = np.ones(len(share), bool) if foreground is None else foreground
    least = MOST
    kept = allowed & (share >= least)
    while kept.sum() < min(FEWEST, max(10, 0.02 * len(share))) and least > 0:
        least = max(0.0, least - 0.1)
        kept = allowed & (share >= least)
    if kept.sum() < 10:
        allowed[:] = True
        kept = share >= np.quantile(share, 0.5)
    kept[np.flatnonzero(kept)[isolated(solved.xyz[kept])]] = False
    points = solved.xyz[kept]
    low, high = np.percentile(points, [TRIM, 100 - TRIM], axis=0)
    centre = (low + high) / 2
    inside = ((points >= low) & (points <= high)).all(1)
    reach = np.linalg.norm(points[inside] - centre, axis=1).max()
    masked = " and the masks allow" if foreground is not None and allowed is foreground else ""
    why = f"{int(kept.sum())} of {len(share)} points, which {least:.0%} of the cameras have in the picture{masked}"
    return Region(low, high, centre, float(reach * margin), why), kept


def given_region(box: tuple[float, ...] | None, sphere: tuple[float, ...] | None, margin: float) -> Region:
    """A region by the user's numbers. The sphere is taken as it is; a box gets one around it."""
    if sphere is not None:
        centre, radius = np.array(sphere[:3], np.float64), float(sphere[3])
        return Region(centre - radius, centre + radius, centre, radius, "the given sphere")
    assert box is not None
    low, high = np.array(box[:3], np.float64), np.array(box[3:], np.float64)
    reach = float(np.linalg.norm(high - low) / 2)
    return Region(low, high, (low + high) / 2, reach * margin, "the given box")


def check_region(solved: Solved, region: Region) -> None:
    """Raise ValueError where no camera has the region's centre in its picture."""
    if not framed_share(solved, region.centre[None])[0] > 0:
        low, high = np.percentile(solved.xyz, [2, 98], axis=0) if len(solved.xyz) else (np.zeros(3),) * 2
        raise ValueError(
            f"the region ({region.why}) has its centre at {np.round(region.centre, 3).tolist()}, which no camera has "
            f"in its picture; the points lie between {np.round(low, 3).tolist()} and {np.round(high, 3).tolist()}, in "
            "the units of the poses: change --box or --sphere"
        )


def region_of_masks(solved: Solved, masks: Mapping[int, Bool[np.ndarray, "h w"]], margin: float) -> Region:
    """The region of the visual hull, found around the points that fall on the masks.

    Points alone leave out parts without texture; the hull does not. Where the masks leave nothing, or
    more than the grid holds, the points decide.
    """
    votes, framed = np.zeros(len(solved.xyz)), np.zeros(len(solved.xyz))
    for view, mask in masks.items():
        xy, _ = solved.project(view, solved.xyz)
        ok = np.flatnonzero(solved.framed(view, solved.xyz))
        h, w = solved.hw[view]
        place = (xy[ok] * [mask.shape[1] / w, mask.shape[0] / h]).astype(int)
        col, row = np.minimum(place, [mask.shape[1] - 1, mask.shape[0] - 1]).T
        framed[ok] += 1
        votes[ok] += mask[row, col]
    foreground = (framed > 0) & (votes >= 0.9 * framed)
    first, kept = region_of_points(solved, foreground, margin)
    hull = visual_hull(solved, masks, first.centre, first.radius)
    if hull.empty or hull.clipped:
        why = "leave nothing of" if hull.empty else "do not bound"
        return replace(
            first, why=f"{first.why} (the masks {why} the region: they were not used for its size)"
        )
    low, high = np.percentile(hull.centres, [TRIM, 100 - TRIM], axis=0)
    centre = (low + high) / 2
    # few views leave spikes of the hull where nobody looks: its outer parts count as far as points are there
    reach = (
        float(np.percentile(np.linalg.norm(hull.centres - centre, axis=1), 100 - 2 * TRIM)) + hull.cell / 2
    )
    reach = max(reach, float(np.linalg.norm(solved.xyz[kept] - centre, axis=1).max()))
    return Region(low, high, centre, reach * margin, f"the visual hull of {len(masks)} masks")
