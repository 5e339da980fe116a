"""The region: the part of the world that is reconstructed, as a box and a sphere, found without user input.

Axes: P points of the reconstruction. All lengths are in world units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from isosweep.errors import InputError
from isosweep.prepare.hull import sample_mask, visual_hull
from isosweep.prepare.reconstruction import Reconstruction

COMMON_SHARE = 0.8
"""A point belongs to the scene if at least this share of the cameras has it in the image."""
FEW_POINTS = 50
"""``COMMON_SHARE`` is lowered if fewer points remain than this, or than 2% of all points (at least 10)."""
NEIGHBOURS = 8
ISOLATED = 4.0
"""A point is noise if its mean distance to its neighbours is more than this many times the median over all points."""
TRIM = 1.0
"""Percent of the points that is cut off at each end of each axis."""


@dataclass(frozen=True)
class Region:
    """A box around the scene, and the sphere that becomes the unit sphere; world units."""

    low: Float[np.ndarray, "3"]
    """Corner of the box with the smallest coordinates."""
    high: Float[np.ndarray, "3"]
    """Corner of the box with the largest coordinates."""
    centre: Float[np.ndarray, "3"]
    """Of the box and the sphere."""
    radius: float
    """Of the sphere, with the margin."""
    found_by: str
    """What the region was found by, in words; ``why`` in prepare.json."""

    @property
    def to_world(self) -> Float[np.ndarray, "4 4"]:
        """Maps normalised points to world points: x_world = radius * x + centre.

        There is no rotation, because readers of NeuS' scale_mat take only a scale and a shift from it.
        """
        matrix = np.diag([self.radius, self.radius, self.radius, 1.0])
        matrix[:3, 3] = self.centre
        return matrix


def share_in_image(recon: Reconstruction, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """For each point, the share of the cameras that have it in the image; occlusion is ignored."""
    count = np.zeros(len(points))
    for view in range(len(recon)):
        count += recon.in_image(view, points)
    return count / max(len(recon), 1)


def isolated(points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """True for noise: points whose mean distance to 8 neighbours is over 4 times the median of that distance."""
    from scipy.spatial import KDTree

    if len(points) <= NEIGHBOURS:
        return np.zeros(len(points), bool)
    distance = KDTree(points).query(points, k=NEIGHBOURS + 1)[0][:, 1:].mean(1)
    return distance > ISOLATED * np.median(distance)


def region_of_points(
    recon: Reconstruction, foreground: Bool[np.ndarray, " p"] | None, margin: float
) -> tuple[Region, Bool[np.ndarray, " p"]]:
    """The region of the points that most cameras have in the image.

    At least 80% of the cameras must have a point in the image; if too few points remain, the share is lowered.
    Isolated points are dropped. The box spans the 1st to the 99th percentile of each axis. The sphere holds all
    points inside the box, times the margin.

    Args:
        foreground: the points that project onto the masks; None without masks. If fewer than ten of them remain,
            the masks are ignored.
        margin: radius of the sphere divided by the distance of the farthest point.

    Returns:
        The region, and which points it was found by.

    Raises:
        ValueError: the reconstruction has fewer than ten points.
    """
    if len(recon.xyz) < 10:
        raise InputError(
            f"the reconstruction has {len(recon.xyz)} points, too few to say where the scene is: give --box or "
            "--sphere, or photographs that overlap more"
        )
    share = share_in_image(recon, recon.xyz)
    allowed = np.ones(len(share), bool) if foreground is None else foreground
    least = COMMON_SHARE
    kept = allowed & (share >= least)
    while kept.sum() < min(FEW_POINTS, max(10, 0.02 * len(share))) and least > 0:
        least = max(0.0, least - 0.1)
        kept = allowed & (share >= least)
    criterion = f"which {least:.0%} of the cameras have in the picture"
    if foreground is not None:
        criterion += " and the masks allow"
    if kept.sum() < 10:
        kept = share >= np.quantile(share, 0.5)
        criterion = "the half that the most cameras have in the picture"
    kept[np.flatnonzero(kept)[isolated(recon.xyz[kept])]] = False
    points = recon.xyz[kept]
    low, high = np.percentile(points, [TRIM, 100 - TRIM], axis=0)
    centre = (low + high) / 2
    inside = ((points >= low) & (points <= high)).all(1)
    reach = np.linalg.norm(points[inside] - centre, axis=1).max()
    found_by = f"{int(kept.sum())} of {len(share)} points, {criterion}"
    return Region(low, high, centre, float(reach * margin), found_by), kept


def given_region(box: tuple[float, ...] | None, sphere: tuple[float, ...] | None, margin: float) -> Region:
    """The region that the user gave, in world units.

    Args:
        box: x0 y0 z0 x1 y1 z1. Its sphere is the one around the box, times the margin.
        sphere: x y z radius. It is taken as it is, without the margin.
    """
    if sphere is not None:
        centre, radius = np.array(sphere[:3], np.float64), float(sphere[3])
        return Region(centre - radius, centre + radius, centre, radius, "the given sphere")
    assert box is not None
    low, high = np.array(box[:3], np.float64), np.array(box[3:], np.float64)
    reach = float(np.linalg.norm(high - low) / 2)
    return Region(low, high, (low + high) / 2, reach * margin, "the given box")


def check_region(recon: Reconstruction, region: Region) -> None:
    """Raise ValueError if no camera has the region's centre in its image."""
    if share_in_image(recon, region.centre[None])[0] == 0:
        low, high = np.percentile(recon.xyz, [2, 98], axis=0) if len(recon.xyz) else (np.zeros(3),) * 2
        raise InputError(
            f"the region ({region.found_by}) has its centre at {np.round(region.centre, 3).tolist()}, which no camera "
            f"has in its picture; the points lie between {np.round(low, 3).tolist()} and "
            f"{np.round(high, 3).tolist()}, in the units of the poses: change --box or --sphere"
        )


def region_of_masks(
    recon: Reconstruction, masks: Mapping[int, Bool[np.ndarray, "h w"]], margin: float
) -> Region:
    """The region of the visual hull, which is carved around the points that project onto the masks.

    Parts without texture have no points, but they belong to the hull. The region of the points is returned
    if the hull is empty or larger than its grid.

    Args:
        masks: view -> foreground, at any resolution with the aspect ratio of the image.
        margin: radius of the sphere divided by the distance of the farthest part.

    Raises:
        ValueError: the reconstruction has fewer than ten points.
    """
    on_mask, in_image = np.zeros(len(recon.xyz)), np.zeros(len(recon.xyz))
    for view, mask in masks.items():
        seen = np.flatnonzero(recon.in_image(view, recon.xyz))
        xy, _ = recon.project(view, recon.xyz)
        in_image[seen] += 1
        on_mask[seen] += sample_mask(mask, xy[seen], recon.hw[view])
    foreground = (in_image > 0) & (on_mask >= 0.9 * in_image)
    first, kept = region_of_points(recon, foreground, margin)
    hull = visual_hull(recon, masks, first.centre, first.radius)
    if hull.empty or hull.clipped:
        problem = "leave nothing of" if hull.empty else "do not bound"
        return replace(
            first,
            found_by=f"{first.found_by} (the masks {problem} the region: they were not used for its size)",
        )
    low, high = np.percentile(hull.centres, [TRIM, 100 - TRIM], axis=0)
    centre = (low + high) / 2
    # the hull of few views has spikes where no camera looks: its farthest 2% count only if points lie there
    reach = (
        float(np.percentile(np.linalg.norm(hull.centres - centre, axis=1), 100 - 2 * TRIM)) + hull.cell / 2
    )
    reach = max(reach, float(np.linalg.norm(recon.xyz[kept] - centre, axis=1).max()))
    return Region(low, high, centre, reach * margin, f"the visual hull of {len(masks)} masks")
