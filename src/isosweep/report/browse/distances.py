"""Distances between a run's mesh and the ground truth, for colours: of each vertex to the other's surface.

Symbols: N vertices; v vertices [N, 3], f faces [F, 3], in world units. Distances are exact to the nearest of the faces
whose samples are nearest; that a farther sample lies on a nearer face is rare, and then costs less than the distance
between samples.
"""

import base64
import gzip
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from isosweep.record.reading import Unreadable, json_values
from isosweep.report.browse.guard import regular
from isosweep.report.browse.meshes import decimate, pack, packed_order, read_mesh
from isosweep.report.collect import Run

SAMPLES = 60_000
NEAREST = 4
TOP_SHARE = 0.05
"""Of the diagonal of the truth's box: the greatest distance that is kept."""
STEPS = 63
"""Into which it is divided, 0.08% of the diagonal each: 4 kB a mesh, of a page that holds two hundred."""


class Truth:
    """The ground-truth mesh of a scene. It is read when it is first needed: a page that is renewed may not need it."""

    def __init__(self, path: Path, faces: int) -> None:
        self.path, self.faces = path, faces
        self._reading = Lock()

    @cached_property
    def _read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, "Surface"]:
        v, f, _ = read_mesh(self.path)
        shown_v, shown_f, _ = decimate(v, f, None, self.faces)
        return shown_v, shown_f, np.array([len(f), np.linalg.norm(np.ptp(v, axis=0))]), Surface(v, f)

    def read(self) -> tuple[np.ndarray, np.ndarray, int, float, "Surface"]:
        """Vertices and faces as they are on the page, the faces of the file, the greatest distance kept, its surface.

        Raises InputError as `read_mesh` does.
        """
        with self._reading:
            shown_v, shown_f, (faces, diagonal), surface = self._read
        return shown_v, shown_f, int(faces), TOP_SHARE * float(diagonal), surface


def truth_path(run: Run) -> Path | None:
    """The ground truth of a run's scene, where it is known without being named.

    ``truth.ply`` in the run's folder, or the exact surface that a demo scene lies with. A record cannot name another
    file: a page that is passed on would have it.
    """
    own = Path(run.folder, "truth.ply")
    if own.is_file():
        return own
    if run.record.dataset != "demo":
        return None
    path, root = run.get("dataset.path"), run.get("dataset.root")
    scene, version = run.record.scene, run.get("dataset.version")
    folders = [Path(path)] if isinstance(path, str) else []
    if isinstance(root, str):
        folders.append(Path(root, "demo", f"{scene.replace('-', '_')}-v{version}"))
        folders.append(Path(root, "demo", f"{scene}-v{version}"))
    for folder in folders:
        try:
            name = json_values(regular(folder / "demo.json").read_bytes())["name"]
        except (OSError, ValueError, Unreadable, LookupError, TypeError):
            continue
        if name == scene and (folder / "mesh.ply").is_file():
            return folder / "mesh.ply"
    return None


class Surface:
    """A triangle mesh that answers how far points are from it."""

    def __init__(self, v: np.ndarray, f: np.ndarray, seed: int = 0) -> None:
        from scipy.spatial import KDTree

        rng = np.random.default_rng(seed)
        corners = v[f]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        face = rng.choice(len(f), SAMPLES, p=area / area.sum()) if area.sum() > 0 else np.arange(len(f))
        u, w = np.sqrt(rng.random(len(face))), rng.random(len(face))
        share = np.stack([1 - u, u * (1 - w), u * w], axis=1)
        self._corners, self._face = corners, face
        self._tree = KDTree(np.einsum("nk,nkd->nd", share, corners[face]))

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance [N] of each point [N, 3] to the surface."""
        from trimesh.triangles import closest_point

        k = min(NEAREST, len(self._face))
        _, near = self._tree.query(points, k=k)
        faces = self._face[np.reshape(near, (len(points), k))]
        best = np.full(len(points), np.inf)
        for column in faces.T:
            there = closest_point(self._corners[column], points)
            best = np.minimum(best, np.linalg.norm(there - points, axis=1))
        return best


def pack_truth(truth: Truth) -> dict[str, Any]:
    """The truth as the page's script unpacks it (meshes.py), its ``top`` and ``steps``."""
    v, f, faces, top, _ = truth.read()
    return {**asdict(pack(v, f, None, faces)), "top": top, "steps": STEPS}


def pack_with_distances(mesh: Path, faces: int, truth: Truth) -> dict[str, Any]:
    """A run's mesh as `meshes.pack_mesh` has it, with its distances to the truth and the truth's to it.

    ``accuracy`` and ``completeness`` are base64 of gzip of one byte for each vertex of mesh and truth in packed order,
    in units of the truth's ``top`` / ``steps``; ``steps`` stands for everything farther. ``means`` are the means of
    both over these vertices, in world units.
    """
    v, f, c = read_mesh(mesh)
    shown, shown_f, shown_c = decimate(v, f, c, faces)
    truth_v, _, _, top, surface = truth.read()
    accuracy = surface.distance(shown[packed_order(shown)])
    completeness = Surface(v, f).distance(truth_v[packed_order(truth_v)])
    return {
        **asdict(pack(shown, shown_f, shown_c, len(f))),
        "accuracy": _bytes(accuracy, top),
        "completeness": _bytes(completeness, top),
        "means": [float(accuracy.mean()), float(completeness.mean())],
    }


def _bytes(distance: np.ndarray, top: float) -> str:
    steps = (distance / (top or 1.0) * STEPS).round().clip(0, STEPS).astype(np.uint8)
    return base64.b64encode(gzip.compress(steps.tobytes(), 9, mtime=0)).decode()


def read_cameras(path: Path) -> dict[str, Any]:
    """The cameras of a run's pictures, by view: ``size`` and ``matrix`` (rendering/view_files.py); {} without any."""
    if not path.exists():
        return {}
    found = json_values(regular(path).read_bytes())
    made = {}
    for view, camera in found.items():
        size, matrix = np.asarray(camera["size"], dtype=float), np.asarray(camera["matrix"], dtype=float)
        if size.shape == (2,) and matrix.shape == (3, 4) and np.isfinite(matrix).all() and (size > 0).all():
            made[view] = {"size": size.tolist(), "matrix": matrix.tolist()}
    return made
