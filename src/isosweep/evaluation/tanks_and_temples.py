"""The protocol of Tanks and Temples: precision, recall and F-score of a surface against the authors' laser scan.

Symbols: tau is the scene's distance (TAU, in metres); T a similarity [4, 4] from the mesh's frame to the scan's.

1. Alignment: the cameras of the scene against those of the authors' log, then <Scene>_trans.txt.
2. Refinement by ICP with scale, in three rounds (ROUNDS), as the authors' program does.
3. Both clouds are cut to the authors' volume (<Scene>.json) and thinned to one point a voxel of tau / 2.
4. precision = share of the surface's points within tau of the scan, recall = share of the scan's within tau of the
   surface, fscore = 2 P R / (P + R).

A mesh stands for its vertices and the centres of its triangles, as in the evaluation of 2DGS and GOF. The authors'
program scores point clouds with Open3D; these steps were written after it and not compared with it on its data.
Source: Knapitsch et al. 2017; isl-org/TanksAndTemples, python_toolbox/evaluation.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from isosweep.data.tanks_and_temples import read_log
from isosweep.errors import InputError
from isosweep.evaluation.alignment import apply, icp, similarity, thinned
from isosweep.meshes.files import read_mesh
from isosweep.runtime.text_file import read_json, read_matrix
from isosweep.types import Mesh

PROTOCOL = "tanks_and_temples"
NAMES = ("geometry/precision", "geometry/recall", "geometry/fscore")
TAU = {
    "Barn": 0.01, "Caterpillar": 0.005, "Church": 0.025, "Courthouse": 0.025, "Ignatius": 0.003, "Meetingroom": 0.01,
    "Truck": 0.005,
}  # fmt: skip
"""Scene -> tau, as the authors' program has it."""
ROUNDS = ((1.0, 80.0), (0.5, 20.0), (None, 2.0))
"""Voxel and largest distance of a pair, both in tau, for each round of ICP. None takes every k-th point instead."""
ITERATIONS = 20
MOST_POINTS = 4_000_000
"""Of a cloud in the last round."""


@dataclass(frozen=True)
class Volume:
    """The authors' volume: a polygon along one axis."""

    axis: int
    low: float
    high: float
    polygon: Float[np.ndarray, "k 2"]
    """Corners in the other two axes, in their order."""

    def contains(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Whether points are inside: an odd number of edges lies to one side of them."""
        along = points[:, self.axis]
        u, v = (points[:, i] for i in range(3) if i != self.axis)
        inside = np.zeros(len(points), bool)
        for (u0, v0), (u1, v1) in zip(self.polygon, np.roll(self.polygon, -1, axis=0), strict=True):
            if v0 == v1:
                continue
            crosses = (v0 > v) != (v1 > v)
            inside ^= crosses & (u < u0 + (v - v0) / (v1 - v0) * (u1 - u0))
        return inside & (along >= self.low) & (along <= self.high)


@dataclass(frozen=True)
class Official:
    """What the authors provide for one scene."""

    scene: str
    tau: float
    points: Float[np.ndarray, "p 3"]
    """The laser scan, in metres."""
    volume: Volume
    to_scan: Float[np.ndarray, "4 4"]
    """From the frame of the log to that of the scan."""
    cameras: Float[np.ndarray, "c 3"] | None
    """Camera centres of the log; None where there is no log."""


def official_files(root: Path, scene: str) -> dict[str, Path]:
    """The authors' files of a scene: 'scan', 'volume', 'trans' and, if it is there, 'log'.

    Raises:
        FileNotFoundError: one of the first three is missing.
        InputError: the scene is none of those with a known tau.
    """
    name = next((known for known in TAU if known.lower() == scene.lower()), None)
    if name is None:
        raise InputError(
            f"scene '{scene}' is none of the training scenes of Tanks and Temples, for which there is ground truth: "
            f"{', '.join(TAU)}"
        )
    files = {
        "scan": root / f"{name}.ply", "volume": root / f"{name}.json", "trans": root / f"{name}_trans.txt",
    }  # fmt: skip
    absent = [path.name for path in files.values() if not path.is_file()]
    if absent:
        raise FileNotFoundError(
            f"no {', '.join(absent)} in {root} (dataset.official): download them with python scripts/data.py get "
            f"tanks_and_temples {name.lower()}"
        )
    log = root / f"{name}_COLMAP_SfM.log"
    return files | ({"log": log} if log.is_file() else {})


def read_official(root: Path, scene: str) -> Official:
    """Read the authors' files of a scene.

    Raises:
        FileNotFoundError: one of them is missing.
        InputError: one of them cannot be used.
    """
    files = official_files(root, scene)
    name = files["scan"].stem
    cameras = np.stack([p[:, 3] for p in read_log(files["log"])]) if "log" in files else None
    to_scan = read_matrix(files["trans"], "a 4x4 matrix")
    if to_scan.shape != (4, 4) or not np.isfinite(to_scan).all():
        raise InputError(
            f"{files['trans']} has shape {to_scan.shape}, expected a finite 4x4 matrix: download it again"
        )
    points = read_mesh(files["scan"]).vertices
    return Official(name, TAU[name], points, read_volume(files["volume"]), to_scan, cameras)


def read_volume(file: Path) -> Volume:
    """Read the authors' json of a volume (Open3D's SelectionPolygonVolume).

    Raises:
        InputError: it is none.
    """
    try:
        meta = read_json(file, "a polygon volume")
        axis = "XYZ".index(str(meta["orthogonal_axis"]).upper())
        corners = np.array(meta["bounding_polygon"], np.float64)
        volume = Volume(
            axis, float(meta["axis_min"]), float(meta["axis_max"]), np.delete(corners, axis, axis=1)
        )
        if len(corners) < 3 or corners.shape[1] != 3:
            raise ValueError(f"a polygon of shape {corners.shape}")
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise InputError(f"{file} is no polygon volume ({error!r}): download it again") from error
    return volume


def first_alignment(
    official: Official, names: Sequence[str], centres: Float[np.ndarray, "v 3"]
) -> tuple[Float[np.ndarray, "4 4"], dict[str, object]]:
    """T of step 1, from the scene's cameras, and what to record of it.

    The number in a view's name is the place of its camera in the log (000001.jpg is the first). Where there is no log,
    the scene's frame has to be the log's.

    Raises:
        InputError: the cameras do not fit to those of the log.
    """
    if official.cameras is None:
        return official.to_scan, {"alignment": "trans"}
    numbers = [re.findall(r"\d+", Path(name).stem) for name in names]
    rows = np.array([int(found[-1]) - 1 if found else -1 for found in numbers])
    known = (rows >= 0) & (rows < len(official.cameras))
    if known.sum() < 3:
        raise InputError(
            f"the views ({', '.join(names[:3])} ...) have no numbers of the {len(official.cameras)} cameras of "
            f"{official.scene}'s log: name them 000001.jpg and so on, as the authors do"
        )
    here, there = centres[known], official.cameras[rows[known]]
    T = similarity(here, there)
    off = np.linalg.norm(apply(T, here) - there, axis=1)
    good = off <= max(3 * np.median(off), 1e-9)
    if good.sum() >= 3:
        T = similarity(here[good], there[good])
    left = float(np.median(np.linalg.norm(apply(T, here) - there, axis=1)))
    extent = float(np.linalg.norm(there.max(0) - there.min(0)))
    if left > 0.02 * extent:
        raise InputError(
            f"the cameras of the scene do not fit to the log of {official.scene}: the median distance is {left:.3g}, "
            f"and they extend over {extent:.3g}. Are the images named as the authors name them?"
        )
    return official.to_scan @ T, {"alignment": "cameras and trans", "alignment_residual": left / extent}


def surface_points(mesh: Mesh) -> Float[np.ndarray, "n 3"]:
    """The points that stand for a mesh: its vertices and the centres of its triangles."""
    vertices = mesh.vertices.astype(np.float64)
    return np.concatenate([vertices, vertices[mesh.faces].mean(1)]) if len(mesh.faces) else vertices


def scores(
    mesh: Mesh, official: Official, T: Float[np.ndarray, "4 4"], *, refine: bool = True
) -> tuple[dict[str, float | None], dict[str, str], dict[str, object]]:
    """Precision, recall and F-score of a mesh, in [0, 1]; the reason of each None; and what to record.

    Args:
        T: from the mesh's frame to the scan's (`first_alignment`).
        refine: whether T is refined by ICP.
    """
    points, tau = surface_points(mesh), official.tau
    scan = official.points[official.volume.contains(official.points)]
    notes: dict[str, object] = {"tau": tau, "icp": refine, "surface": "vertices and centres of triangles"}
    for voxel, reach in ROUNDS if refine else ():
        cut = _cut(apply(T, points), official.volume)
        if len(cut) < 3 or len(scan) < 3:
            break
        pair = [_every(c) if voxel is None else thinned(c, voxel * tau) for c in (cut, scan)]
        T = icp(pair[0], pair[1], reach * tau, ITERATIONS) @ T
    surface = _cut(apply(T, points), official.volume)
    if len(surface) == 0 or len(scan) == 0:
        what = "the mesh" if len(surface) == 0 else "the scan"
        return (
            dict.fromkeys(NAMES),
            dict.fromkeys(NAMES, f"{what} has no point in the authors' volume"),
            notes,
        )
    surface, scan = thinned(surface, tau / 2), thinned(scan, tau / 2)
    precision, recall = _share(surface, scan, tau), _share(scan, surface, tau)
    fscore = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    notes |= {"surface_points": len(surface), "scan_points": len(scan)}
    return dict(zip(NAMES, (precision, recall, fscore), strict=True)), {}, notes


def _cut(points: np.ndarray, volume: Volume) -> np.ndarray:
    return points[volume.contains(points)]


def _every(points: np.ndarray) -> np.ndarray:
    """Every k-th point, so that there are about `MOST_POINTS`."""
    return points[:: max(1, round(len(points) / MOST_POINTS))]


def _share(points: np.ndarray, of: np.ndarray, tau: float) -> float:
    """The share of points that are closer to ``of`` than tau."""
    from scipy.spatial import KDTree

    distance, _ = KDTree(of).query(points, distance_upper_bound=tau)
    return float((distance < tau).mean())
