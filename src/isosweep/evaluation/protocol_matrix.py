"""One DTU mesh under every protocol that papers use: culling presets, with and without ICP, whole or seen twice.

A rank that holds under one protocol only is no rank. So one mesh is scored under all of them, and every number comes
with its coverage, because most protocols forgive holes: distances beyond 20 mm do not count, and a mesh without its
worst part is more accurate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from isosweep.evaluation import alignment, dtu, dtu_culling, dtu_sampling
from isosweep.evaluation.surface_metrics import Observers
from isosweep.meshes import raycast
from isosweep.types import Mesh

COVERAGE = "geometry/coverage"
COVER = 2.0
"""mm: a point of the scan is covered if the mesh has a point nearer than this."""
VIEWS = 2
"""Cameras that have to see a point, in the protocols that score what is seen."""
ICP_POINTS = 20_000
"""Points of the mesh, drawn at random, that are aligned with the scan."""
ICP_ITERATIONS = 60


@dataclass(frozen=True)
class Variant:
    """One protocol of the matrix."""

    cull: str
    aligned: bool = False
    """The culled mesh is moved onto the scan by ICP (rotation and shift) first."""
    seen: bool = False
    """Only points that two cameras see count, of the mesh and of the scan."""

    @property
    def name(self) -> str:
        """dtu-neus, dtu-neus-icp, dtu-neus-seen2, dtu-neus-icp-seen2."""
        return (
            f"{dtu.PROTOCOL}{self.cull}{'-icp' if self.aligned else ''}{f'-seen{VIEWS}' if self.seen else ''}"
        )


def variants(masks: bool) -> list[Variant]:
    """All protocols; without ``masks``, and so without cameras, those that need none."""
    presets = dtu_culling.PRESETS if masks else ("none",)
    parts = (False, True) if masks else (False,)
    return [Variant(cull, aligned, seen) for cull in presets for aligned in (False, True) for seen in parts]


def scores_by_protocol(
    mesh: Mesh,
    official: dtu.Official,
    observers: Observers | None,
    seed: int = 0,
    presets: Sequence[str] = tuple(dtu_culling.PRESETS),
) -> Iterator[tuple[Variant, dict[str, float | None], dict[str, str], dict[str, object]]]:
    """The scores of a mesh under every protocol, one after the other.

      accuracy, completeness, chamfer: as `dtu.dtu_scores`, in mm
      coverage = share of the scan's points that count whose nearest point of the mesh is nearer than ``COVER``
    A variant that is neither aligned nor seen has exactly the numbers of `dtu.dtu_scores`.

    Args:
        mesh: in mm.
        observers: cameras (mm) and masks; without them the presets that need masks, and what is seen, are left out.
        presets: of culling.

    Yields: the protocol; its values by name; the reason of each value that is None; what makes the numbers comparable.

    Raises:
        InputError: the surface is too large to sample.
    """
    tops = official.points[official.points @ official.plane[:3] + official.plane[3] > 0]
    framed = None if observers is None else _in_frames(observers, tops)
    for cull in presets if observers is not None else ("none",):
        settings = dtu.DtuSettings(cull=cull, seed=seed)
        culled = dtu_culling.cull(mesh, cull, observers)
        for aligned in (False, True):
            moved, shift = _aligned(culled, official, settings) if aligned else (culled, 0.0)
            points = dtu.surface_points(moved, official, settings) if len(moved.faces) else np.zeros((0, 3))
            for seen in (False, True) if observers is not None else (False,):
                variant = Variant(cull, aligned, seen)
                part, scan = points, tops
                if seen and observers is not None and framed is not None and len(points):
                    part, scan = points[_seen(observers, moved, points)], tops[framed]
                values, reasons = _scores(part, scan, official, settings)
                notes = dtu.describe(settings) | {
                    "scan": official.scan, "aligned": "icp, rigid" if aligned else None,
                    "seen_by": VIEWS if seen else None, "cover_mm": COVER, "icp_moved_mm": shift,
                    "points_in_box": len(part), "faces_after_culling": len(moved.faces),
                }  # fmt: skip
                yield variant, values, reasons, notes


def _scores(
    points: Float[np.ndarray, "n 3"],
    scan: Float[np.ndarray, "m 3"],
    official: dtu.Official,
    settings: dtu.DtuSettings,
) -> tuple[dict[str, float | None], dict[str, str]]:
    names: tuple[str, ...] = (*dtu.NAMES, COVERAGE)
    inside = points[dtu.observed(points, official)] if len(points) else points
    if len(inside) == 0 or len(scan) == 0:
        why = (
            "nothing of the mesh is left in the box and ObsMask"
            if len(inside) == 0
            else "nothing of the scan is left"
        )
        return dict.fromkeys(names), dict.fromkeys(names, why)
    cap = settings.max_distance
    to_scan = _distances(official.points, inside, cap)
    to_mesh = _distances(points, scan, cap)
    accuracy, completeness = (
        float(d[d < cap].mean()) if (d < cap).any() else None for d in (to_scan, to_mesh)
    )
    values: dict[str, float | None] = dict(
        zip(names, (accuracy, completeness, None, float((to_mesh < COVER).mean())), strict=True)
    )
    if accuracy is None or completeness is None:
        why = f"no point is within {cap:g} mm of the other surface"
        return values, {name: why for name, value in values.items() if value is None}
    values[dtu.NAMES[2]] = (accuracy + completeness) / 2
    return values, {}


def _distances(
    of: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "m 3"], cap: float
) -> Float[np.ndarray, " m"]:
    from scipy.spatial import KDTree

    return dtu_sampling.nearest(KDTree(of, balanced_tree=False, compact_nodes=False), points, cap)


def _aligned(mesh: Mesh, official: dtu.Official, settings: dtu.DtuSettings) -> tuple[Mesh, float]:
    """The mesh moved onto the scan, and by how many mm its points moved in the mean."""
    points = dtu.surface_points(mesh, official, settings) if len(mesh.faces) else np.zeros((0, 3))
    points = points[dtu.observed(points, official)] if len(points) else points
    if len(points) < 3:
        return mesh, 0.0
    if len(points) > ICP_POINTS:
        points = points[np.random.default_rng(settings.seed).choice(len(points), ICP_POINTS, replace=False)]
    T = alignment.icp(points, official.points, settings.max_distance, ICP_ITERATIONS, scaled=False)
    shift = float(np.linalg.norm(alignment.apply(T, points) - points, axis=1).mean())
    return replace(mesh, vertices=alignment.apply(T, mesh.vertices.astype(np.float64))), shift


def _in_frames(observers: Observers, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Whether each point lies in the frames of enough cameras."""
    count = np.zeros(len(points), dtype=np.int16)
    for view in observers.views:
        count += raycast.project(observers.cameras, view, points)[2]
    return count >= VIEWS


def _seen(observers: Observers, mesh: Mesh, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Whether enough cameras see each point of a mesh: in the frame, and not hidden by the mesh."""
    caster = raycast.Caster(mesh)
    count = np.zeros(len(points), dtype=np.int16)
    for view in observers.views:
        left = np.flatnonzero(count < VIEWS)
        count[left] += raycast.visible_points(caster, observers.cameras, points[left], [view])
    return count >= VIEWS
