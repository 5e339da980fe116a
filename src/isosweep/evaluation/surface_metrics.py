"""Geometry scores in world units: Chamfer distance and its parts, F-score, normals, topology, reference points.

Symbols: N samples on a surface, F faces, D the diagonal of the truth's bounding box.
Accuracy is the distance from prediction to truth (d2s), completeness that from truth to prediction (s2d). Distances are
measured between samples, so two equal surfaces score half the mean spacing of their samples, not zero.
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
class SurfaceSamples:
    """N points on a surface, with the unit normal and the face of each; both are None if the truth is a point cloud."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"] | None
    face: Int[np.ndarray, " n"] | None

    def __len__(self) -> int:
        return len(self.points)

    def keep(self, rows: Bool[np.ndarray, " n"]) -> "SurfaceSamples":
        """The samples whose row is True."""
        return SurfaceSamples(
            self.points[rows],
            None if self.normals is None else self.normals[rows],
            None if self.face is None else self.face[rows],
        )


@dataclass(frozen=True)
class Observers:
    """The cameras, in world units, and their masks. Only surface that they see is scored."""

    cameras: Cameras
    views: Sequence[int]
    masks: Sequence[Bool[np.ndarray, "h w"] | None]
    """The foreground of each of ``views``; None for a view without a mask."""


def sample_surface(mesh: Mesh, count: int, seed: int) -> SurfaceSamples:
    """``count`` random points on a mesh, uniform over its area, one in each of ``count`` equal shares of it.

    In a triangle a, b, c the point is (1 - sqrt(u)) a + sqrt(u) (1 - v) b + sqrt(u) v c with u, v uniform in [0, 1]
    (Osada et al. 2002, equation 1). A mesh without area gives no points.
    """
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    total = np.cumsum(area)
    if len(area) == 0 or total[-1] <= 0:
        return SurfaceSamples(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    rng = np.random.default_rng(seed)
    share = (np.arange(count) + rng.random(count)) / count
    face = np.minimum(np.searchsorted(total, share * total[-1], side="right"), np.flatnonzero(area)[-1])
    root, along = np.sqrt(rng.random(count))[:, None], rng.random(count)[:, None]
    points = (1 - root) * a[face] + root * (1 - along) * b[face] + root * along * c[face]
    return SurfaceSamples(points, topology.face_normals(mesh)[face], face)


def true_samples(truth: Mesh, settings: EvalSettings, observers: Observers | None = None) -> SurfaceSamples:
    """The samples of the true surface that count (`surface_scores`): they depend on no prediction."""
    if len(truth.faces) == 0:
        return SurfaceSamples(truth.vertices.astype(np.float64), None, None)
    real = sample_surface(truth, settings.samples, settings.seed)
    if observers is None:
        return real
    return real.keep(
        raycast.visible_points(raycast.Caster(truth), observers.cameras, real.points, observers.views)
    )


def surface_scores(
    pred: Mesh,
    truth: Mesh,
    settings: EvalSettings,
    observers: Observers | None = None,
    dilation: int = 1,
    real: SurfaceSamples | None = None,
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Scores of a predicted surface against the true one; both are in world units.

    P and T are the samples of prediction and truth that count, d is the distance of a sample to the nearest sample of
    the other surface, and n, n' are the normals of these two:
      accuracy = mean_P d, completeness = mean_T d, chamfer = the mean of the two   [world units]
      chamfer_sq = mean_P d^2 + mean_T d^2   [squared world units]
      accuracy_percent, completeness_percent = 100 / D times these
      fscore = 2 p r / (p + r), where p and r are the fractions of P and T with d < ``fscore_at`` D   [0 to 1]
      normal_consistency = (mean_P |n . n'| + mean_T |n . n'|) / 2   [0 to 1]
    Sources: Chamfer distance and normal consistency as in Mescheder et al. 2019 (Occupancy Networks), F-score as in
    Knapitsch et al. 2017 (Tanks and Temples).

    With ``observers``, a sample of the truth counts if a camera sees it and the truth does not hide it. A sample of the
    prediction counts if a camera sees it, the prediction does not hide it, and it lies in the visual hull of the masks.
    A truth without faces is a point cloud: all its points count, and it has no normals. Without ``observers`` all
    samples count.

    Args:
        settings: ``samples``, ``seed`` and ``fscore_at`` are read.
        dilation: pixels by which the masks are dilated.
        real: `true_samples` of the same truth, settings and observers, where they are known already.

    Returns: the values by name, None for those that cannot be computed, and the reason of each None.
    """
    names = [f"geometry/{n}" for n in (*NAMES, "accuracy_percent", "completeness_percent")]

    def nothing(why: str) -> tuple[dict[str, float | None], dict[str, str]]:
        return dict.fromkeys(names), dict.fromkeys(names, why)

    if len(pred.faces) == 0:
        return nothing("the predicted mesh has no face")
    real = true_samples(truth, settings, observers) if real is None else real
    guess = sample_surface(pred, settings.samples, settings.seed + 1)
    if observers is not None:
        guess = guess.keep(
            raycast.in_hull(observers.cameras, observers.masks, guess.points, observers.views, dilation)
        )
        guess = guess.keep(
            raycast.visible_points(raycast.Caster(pred), observers.cameras, guess.points, observers.views)
        )
    if len(guess) == 0:
        return nothing(
            "the predicted mesh has no area"
            if observers is None
            else "no camera sees any of the predicted mesh inside the visual hull"
        )
    if len(real) == 0:
        return nothing(
            "the true surface has no area" if observers is None else "no camera sees any of the true surface"
        )

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
    pred: Mesh, observers: Observers, samples: int, seed: int, dilation: int = 1
) -> tuple[dict[str, float | None], dict[str, str]]:
    """geometry/inside_hull: the fraction, 0 to 1, of the visible area whose samples fall on the mask of every view.

    Masks are dilated by ``dilation`` pixels. A sample outside a view's frame counts as on its mask.

    Args:
        pred: in world units, as the cameras of ``observers``.
        samples: number of random points on the mesh.
        seed: of the random generator.

    Returns: the value by name, or None and the reason if no camera sees any of the mesh.
    """
    name = "geometry/inside_hull"
    cloud = sample_surface(pred, samples, seed)
    cloud = cloud.keep(
        raycast.visible_points(raycast.Caster(pred), observers.cameras, cloud.points, observers.views)
    )
    if len(cloud) == 0:
        return {name: None}, {name: "no camera sees any of the predicted mesh"}
    inside = raycast.in_hull(observers.cameras, observers.masks, cloud.points, observers.views, dilation)
    return {name: float(inside.mean())}, {}


def topology_scores(mesh: Mesh) -> tuple[dict[str, float | None], dict[str, str]]:
    """geometry/components, the number of parts that share no vertex, and geometry/genus of the part with most area.

    genus = 1 - (V - E + F) / 2 (Euler's formula), with vertices at the same place merged: the number of handles, 0 for
    a ball, 1 for a torus. It is None if an edge does not have exactly two faces, because the part is not closed then.

    Returns: the values by name, and the reason of each None.
    """
    if len(mesh.faces) == 0:
        names = ("geometry/components", "geometry/genus")
        return dict.fromkeys(names), dict.fromkeys(names, "the mesh has no face")
    merged = merge_vertices(mesh)
    label = face_components(merged)
    areas = np.bincount(label, weights=face_areas(merged))
    faces = merged.faces[label == int(np.argmax(areas))]
    uses = _faces_of_edges(faces)
    values: dict[str, float | None] = {"geometry/components": float(len(areas)), "geometry/genus": None}
    odd = int((uses != 2).sum())
    if odd:
        why = f"the largest part of the mesh is not closed: {odd} of {len(uses)} edges do not have exactly two faces"
        return values, {"geometry/genus": why}
    values["geometry/genus"] = 1 - (len(np.unique(faces)) - len(uses) + len(faces)) / 2
    return values, {}


def _faces_of_edges(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, " e"]:
    """How many faces each edge has, in no order.

    An edge is one number of its two vertices: a sort of pairs took ten times the memory, 12 GB for 20 million faces.
    """
    ends = faces.astype(np.int64, copy=False)
    many, n = int(ends.max()) + 1, len(ends)
    edge = np.empty(3 * n, np.int64)
    for i, (a, b) in enumerate(((0, 1), (1, 2), (2, 0))):
        part = edge[i * n : (i + 1) * n]
        np.minimum(ends[:, a], ends[:, b], out=part)
        part *= many
        part += np.maximum(ends[:, a], ends[:, b])
    edge.sort()
    first = np.flatnonzero(edge[1:] != edge[:-1]) + 1
    return np.diff(first, prepend=0, append=len(edge))


def reference_scores(
    mesh: Mesh, points: Float[np.ndarray, "p 3"], samples: int = 1_000_000, seed: int = 0
) -> tuple[dict[str, float | None], dict[str, str]]:
    """geometry/reference_median and geometry/reference_p90: median and 90th percentile of the distance from reference
    points to the mesh, in world units; see `distance_to_mesh`.

    Returns: the values by name, and the reason of each None.
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
    """The distance of each of P points to the surface of a mesh, in the mesh's units.

    It is the exact distance to the faces that hold the ``near`` nearest of ``samples`` points on the mesh. So it is
    never below the true distance, and above it by less than the spacing of the samples.

    Raises:
        InputError: the faces have no area.
    """
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


def nearest(
    of: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "p 3"]
) -> tuple[Float[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """For each of ``points``: the distance to the nearest point of ``of``, in the same units, and its index."""
    from scipy.spatial import KDTree

    distance, index = KDTree(of).query(points, workers=torch.get_num_threads())
    return distance, np.asarray(index)
