"""Fewer faces: an edge after the other is drawn together where that moves the surface least (``export.faces``).

Source: Garland and Heckbert 1997, surface simplification using quadric error metrics; by fast-simplification.

Axes: N vertices, F faces.
"""

import importlib
import logging

import numpy as np

from isosweep.meshes.triangulators import require_package
from isosweep.types import Mesh

log = logging.getLogger("isosweep")

CAREFUL, FAST = 3, 7
"""How soon the library accepts a worse edge. The careful pass stays ten times nearer to the surface but may stop before
the count; the fast one then goes on, until no edge is left that it takes."""


def require() -> None:
    """Check that fast-simplification is installed.

    Raises:
        InputError: it is not.
    """
    require_package("fast_simplification", "fast-simplification", "export.faces", "null keeps every face")


def simplified(mesh: Mesh, faces: int) -> Mesh:
    """The mesh with at most about ``faces`` faces, with the colours of the nearest vertices and without normals.

    A mesh that has no more stays as it is. Boundaries and thin parts may keep the count above ``faces``; the log says
    what came out.

    Raises:
        InputError: fast-simplification is not installed.
    """
    if len(mesh.faces) <= faces:
        return mesh
    require()
    library = importlib.import_module("fast_simplification")
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    centre, size = (low + high) / 2, float((high - low).max()) or 1.0
    # the library's thresholds are of a mesh of about unit size
    points = np.ascontiguousarray((mesh.vertices - centre) / size)
    kept = np.ascontiguousarray(mesh.faces, dtype=np.int32)
    before, haste = len(kept) + 1, CAREFUL
    while faces < len(kept) < before:
        before = len(kept)
        points, kept = library.simplify(points, kept, target_count=faces, agg=haste)
        haste = FAST
    used, back = np.unique(kept, return_inverse=True)
    vertices = points[used].astype(np.float64) * size + centre
    made = Mesh(vertices, back.reshape(-1, 3).astype(np.int64), _nearest_colors(mesh, vertices))
    log.info("export.faces=%d: %d of %d faces stay", faces, len(made.faces), len(mesh.faces))
    return made


def _nearest_colors(mesh: Mesh, points: np.ndarray) -> np.ndarray | None:
    if mesh.colors is None:
        return None
    from scipy.spatial import KDTree

    return mesh.colors[KDTree(mesh.vertices).query(points)[1]]
