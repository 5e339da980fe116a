"""Geometry scores in world units: Chamfer and its parts, F-score, normals, topology, reference points.

Symbols: N samples on a surface, P free points, F faces, D the truth's bounding-box diagonal.
Accuracy is prediction to truth (d2s), completeness truth to prediction (s2d). Distances are between
samples, so two equal surfaces score half the mean sample spacing, not zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from isosweep.config.settings import EvalSettings
from isosweep.errors import InputError
from isosweep.meshes import raycast, topology
from isosweep.meshes.topology import face_areas, face_components, merge_vertices
from isosweep.types import Cameras, Mesh

NAMES = ("accuracy", "completeness", "chamfer", "chamfer_sq", "fscore", "normal_consistency")


@dataclass(frozen=True)
class Samples:
    """Points on a surface; ``normals`` is None for a truth that is a point cloud."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"] | None
    face: Int[np.ndarray, " n"] | None

    def __len__(self) -> int:
        return len(self.points)

    def keep(self, rows: Bool[np.ndarray, " n"]) -> "Samples":
        return Samples(
            self.points[rows],
            None if self.normals is None else self.normals[rows],
            None if self.face is None else self.face[rows],
        )


@dataclass(frozen=True)
class Seen:
    """The cameras that decide which surface counts, in world units, and their masks where there are any."""

    cameras: Cameras
    views: Sequence[int]
    masks: Sequence[Bool[np.ndarray, "h w"] | None]
    """Foreground, parallel to ``views``."""


def sample_surface(mesh: Mesh, count: int, seed: int) -> Samples:
    """``count`` area-uniform points: one in each of ``count`` equal shares of the area, seeded.

    A mesh whose faces have no area gives no points.
    """
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    total = np.cumsum(area)
    if len(area) == 0 or total[-1] <= 0:
        return Samples(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    rng = np.random.default_rng(seed)
    share = (np.arange(count) + rng.random(count)) / count
    face = np.minimum(np.searchsorted(total, share * total[-1], side="right"), np.flatnonzero(area)[-1])
    root, along = np.sqrt(rng.random(count))[:, None], rng.random(count)[:, None]
    points = (1 - root) * a[face] + root * (1 - along) * b[face] + root * along * c[face]
    return Samples(points, topology.face_normals(mesh)[face], face)


def surface_scores(
    pred: Mesh, truth: Mesh, settings: EvalSettings, watched: Seen | None = None, dilation: int = 1
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Scores of a predicted surface against the true one; both in world units.

    With P and T the samples that count, d the distance to the nearest sample of the other surface:
      accuracy = mean_P d, completeness = mean_T d, chamfer = their mean,
      chamfer_sq = mean_P d^2 + mean_T d^2,
      *_percent = 100 / D of it, fscore = 2 p r / (p + r) with p, r the shares nearer than
      ``fscore_at`` * D, normal_consistency = mean of |n . n'| over both directions.
    Of the truth count the samples that some camera of ``watched`` sees past the truth itself; of the
    prediction those that some camera sees past the prediction and that lie in the visual hull of the
    masks. A truth without faces is a point cloud: all its points count, and it has no normals.
    Without ``watched`` everything counts.

    Returns: values by name (None where it cannot be had) and the reasons of the None.
    """
    names = [f"geometry/{n}" for n in (*NAMES, "accuracy_percent", "completeness_percent")]

    def nothing(why: str) -> tuple[dict[str, float | None], dict[str, str]]:
        return dict.fromkeys(names), dict.fromkeys(names, why)

    if len(pred.faces) == 0:
        return nothing("the predicted mesh has no face")
    real = sample_surface(truth, settings.samples, settings.seed) if len(truth.faces) else _as_samples(truth)
    guess = sample_surface(pred, settings.samples, settings.seed + 1)
    if watched is not None:
        if real.face is not None:
            real = real.keep(raycast.seen(raycast.Caster(truth), watched.cameras, real.points, watched.views))
        guess = guess.keep(
            raycast.in_hull(watched.cameras, watched.masks, guess.points, watched.views, dilation)
        )
        guess = guess.keep(raycast.seen(raycast.Caster(pred), watched.cameras, guess.points, watched.views))
    if len(guess) == 0:
        return nothing("no camera sees any of the predicted mesh inside the visual hull")
    if len(real) == 0:
        return nothing("no camera sees any of the true surface")

    diagonal = float(np.linalg.norm(np.ptp(truth.vertices, axis=0)))
    to_real, near_real = nearest(real.points, guess.points)
    to_guess, near_guess = nearest(guess.points, real.points)
    accuracy, completeness = float(to_real.mean()), float(to_guess.mean())
    reach = settings.fscore_at * diagonal
    precision, recall = float((to_real < reach).mean()), float((to_guess < reach).mean())
    values: dict[str, float | None] = {
        "geometry/accuracy": accuracy,
        "geometry/completeness": completeness,
        "geometry/chamfer": (accuracy + completeness) / 2,
        "geometry/chamfer_sq": float(np.square(to_real).mean() + np.square(to_guess).mean()),
        "geometry/fscore": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "geometry/normal_consistency": None,
        "geometry/accuracy_percent": 100 * accuracy / diagonal if diagonal else None,
        "geometry/completeness_percent": 100 * completeness / diagonal if diagonal else None,
    }
    reasons = {}
    if real.normals is None or guess.normals is None:
        reasons["geometry/normal_consistency"] = "the true surface is a point cloud without normals"
    else:
        forth = np.abs((guess.normals * real.normals[near_real]).sum(axis=1)).mean()
        back = np.abs((real.normals * guess.normals[near_guess]).sum(axis=1)).mean()
        values["geometry/normal_consistency"] = float(forth + back) / 2
    if not diagonal:
        for name in ("geometry/accuracy_percent", "geometry/completeness_percent"):
            reasons[name] = "the true surface is a single point: its bounding box has no diagonal"
    return values, reasons


def hull_score(
    pred: Mesh, watched: Seen, samples: int, seed: int, dilation: int = 1
) -> tuple[dict[str, float | None], dict[str, str]]:
    """geometry/inside_hull: share of the camera-visible area whose samples fall on every mask.

    Masks are grown by ``dilation`` pixels; a sample outside a frame counts as inside there.
    """
    name = "geometry/inside_hull"
    cloud = sample_surface(pred, samples, seed)
    cloud = cloud.keep(raycast.seen(raycast.Caster(pred), watched.cameras, cloud.points, watched.views))
    if len(cloud) == 0:
        return {name: None}, {name: "no camera sees any of the predicted mesh"}
    inside = raycast.in_hull(watched.cameras, watched.masks, cloud.points, watched.views, dilation)
    return {name: float(inside.mean())}, {}


def topology_scores(mesh: Mesh) -> tuple[dict[str, float | None], dict[str, str]]:
    """geometry/components (parts that share no vertex) and geometry/genus of the part with most area.

    genus = 1 - (V - E + F) / 2 after vertices at the same place are merged; the number of handles
    (0 ball, 1 torus). None for a surface with open or shared edges, which has no genus.
    """
    if len(mesh.faces) == 0:
        names = ("geometry/components", "geometry/genus")
        return dict.fromkeys(names), dict.fromkeys(names, "the mesh has no face")
    merged = merge_vertices(mesh)
    label = face_components(merged)
    areas = np.bincount(label, weights=face_areas(merged))
    faces = merged.faces[label == int(np.argmax(areas))]
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    uses = np.unique(edges, axis=0, return_counts=True)[1]
    values: dict[str, float | None] = {"geometry/components": float(len(areas)), "geometry/genus": None}
    odd = int((uses != 2).sum())
    if odd:
        why = f"the largest part of the mesh is not closed: {odd} of {len(uses)} edges have not two faces"
        return values, {"geometry/genus": why}
    values["geometry/genus"] = 1 - (len(np.unique(faces)) - len(uses) + len(faces)) / 2
    return values, {}


def reference_scores(
    mesh: Mesh, points: Float[np.ndarray, "p 3"], samples: int = 1_000_000, seed: int = 0
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Median and 90th percentile of the distance from trusted points to the mesh, world units.

    The exact distance to the faces of the 16 nearest of ``samples`` points on the mesh: never below
    the true distance, above it by less than the spacing of the samples.
    """
    names = ("geometry/reference_median", "geometry/reference_p90")
    if len(mesh.faces) == 0:
        return dict.fromkeys(names), dict.fromkeys(names, "the predicted mesh has no face")
    if len(points) == 0:
        return dict.fromkeys(names), dict.fromkeys(names, "there is no reference point")
    distance = distance_to_mesh(mesh, points, samples, seed)
    return {names[0]: float(np.median(distance)), names[1]: float(np.percentile(distance, 90))}, {}


def distance_to_mesh(
    mesh: Mesh, points: Float[np.ndarray, "p 3"], samples: int = 1_000_000, seed: int = 0, near: int = 16
) -> Float[np.ndarray, " p"]:
    """Distance of each point to the surface; see ``reference_scores`` for how exact it is."""
    import trimesh
    from scipy.spatial import KDTree

    cloud = sample_surface(mesh, samples, seed)
    if cloud.face is None or len(cloud) == 0:
        raise InputError(f"a mesh of {len(mesh.faces)} faces without any area has no surface to measure to")
    near = min(near, len(cloud))
    found, index = KDTree(cloud.points).query(points, k=near, workers=torch.get_num_threads())
    best = found.reshape(len(points), near)[:, 0]
    for faces in cloud.face[index.reshape(len(points), near)].T:
        triangles = mesh.vertices[mesh.faces[faces]].astype(np.float64)
        closest = trimesh.triangles.closest_point(triangles, points)
        best = np.fmin(best, np.linalg.norm(closest - points, axis=1))
    return best


def _as_samples(cloud: Mesh) -> Samples:
    return Samples(cloud.vertices.astype(np.float64), None, None)


def nearest(
    of: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "p 3"]
) -> tuple[Float[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    from scipy.spatial import KDTree

    distance, index = KDTree(of).query(points, workers=torch.get_num_threads())
    return distance, np.asarray(index)
