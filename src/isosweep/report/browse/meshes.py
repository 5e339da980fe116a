"""Packs a mesh into some ten kilobytes of text, which the page's script unpacks.

Symbols: N vertices, F faces; v vertices [N, 3], f faces [F, 3], c colours [N, 3] or None. The text is base64 of gzip of
these little-endian arrays, in this order:
- positions [3, N] uint16 in units of (high - low) / 65535, each as the difference to the vertex before it;
- colours [3, N] uint8 if the mesh has any, as differences, too;
- texture coordinates [2, N] uint16 in units of 1/65535 if the mesh has any, as differences;
- faces [3, F] uint32: the first corner as the difference to that of the face before it, the other two corners as
  differences to the first.
"""

import base64
import gzip
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.errors import InputError
from isosweep.report.browse.guard import regular
from isosweep.runtime.mesh_file import require_mesh_file

QUANTISATION_STEPS = 65535
FARTHEST = 1e9
"""World units. A vertex beyond is taken as not finite: it would make a point of everything else, and overflows."""
CLUSTER_FIRST = 3_000_000
"""A mesh with more faces than this is first reduced to it by clustering: quadrics alone would take minutes."""
_SIMPLIFYING = threading.Lock()
"""fast-simplification keeps its mesh in variables of the process and lets other threads run: two at once mix."""


@dataclass(frozen=True)
class PackedMesh:
    """A mesh as text. It has ``faces`` of ``original`` faces; ``low`` and ``high`` bound it, in world units."""

    data: str
    vertices: int
    faces: int
    original: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    core: tuple[tuple[float, ...], tuple[float, ...]]
    """1st and 99th percentile of the vertices, in world units: the box without stray vertices."""
    colors: bool
    uv: bool = False


def pack_mesh(path: Path, faces: int) -> PackedMesh:
    """Pack the mesh at ``path``, reduced to about ``faces`` faces. Raises ValueError if it is no triangle mesh."""
    v, f, c = read_mesh(path)
    return pack(*decimate(v, f, c, faces), len(f))


def pack(
    v: np.ndarray, f: np.ndarray, c: np.ndarray | None, original: int, uv: np.ndarray | None = None
) -> PackedMesh:
    """Pack a mesh as it is; ``uv`` [N, 2] are coordinates in a texture, in [0, 1] from its lower left corner."""
    low, high = v.min(0), v.max(0)
    core = np.percentile(v, [1, 99], axis=0)
    q = _quantised(v)
    order = packed_order(v)
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    q, f = q[order], back[f]
    turn = (np.argmin(f, axis=1)[:, None] + np.arange(3)) % 3
    f = np.take_along_axis(f, turn, axis=1)  # the same triangle, starting at its smallest index
    f = f[np.lexsort((f[:, 2], f[:, 1], f[:, 0]))]
    parts = [_row_differences(q).astype("<u2").T.tobytes()]
    if c is not None:
        parts.append(_row_differences(c[order].astype(np.int64)).astype("u1").T.tobytes())
    if uv is not None:
        places = (uv[order] * QUANTISATION_STEPS).round().astype(np.int64)
        parts.append(_row_differences(places).astype("<u2").T.tobytes())
    corners = np.stack([np.diff(f[:, 0], prepend=0), f[:, 1] - f[:, 0], f[:, 2] - f[:, 0]])
    parts.append(corners.astype("<u4").tobytes())
    data = base64.b64encode(gzip.compress(b"".join(parts), 9, mtime=0)).decode()
    box = tuple(tuple(float(x) for x in row) for row in core)
    return PackedMesh(
        data,
        len(q),
        len(f),
        original,
        tuple(map(float, low)),
        tuple(map(float, high)),
        (box[0], box[1]),
        c is not None,
        uv is not None,
    )


def packed_order(v: np.ndarray) -> np.ndarray:
    """Indices [N] of the vertices in the order in which they are packed.

    Neighbours in the list are then neighbours in space, and differences small.
    """
    return np.lexsort(_quantised(v).T)


def _quantised(v: np.ndarray) -> np.ndarray:
    low, high = v.min(0), v.max(0)
    size = np.where(high > low, high - low, 1.0)
    return ((v - low) / size * QUANTISATION_STEPS).round().astype(np.int64)


def require_indices(path: Path, v: np.ndarray, f: np.ndarray) -> None:
    """Raise InputError for a face that names a vertex which is not there."""
    if len(f) and (f.min() < 0 or f.max() >= len(v)):
        wrong = f.max() if f.max() >= len(v) else f.min()
        raise InputError(
            f"{path.name} has a face with vertex {wrong}, and {len(v)} vertices: export it again"
        )


def _row_differences(rows: np.ndarray) -> np.ndarray:
    """Differences to the row before. Negative ones wrap around when they are stored as unsigned integers."""
    return np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), dtype=np.int64))


def decimate(
    v: np.ndarray, f: np.ndarray, c: np.ndarray | None, faces: int
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Reduce a mesh to about ``faces`` faces.

    It uses quadric decimation if fast-simplification is installed, else it clusters vertices.
    """
    if len(f) <= faces:
        return v, f, c
    if len(f) > CLUSTER_FIRST:
        v, f, c = cluster_vertices(v, f, c, CLUSTER_FIRST)
    try:
        import fast_simplification
    except ImportError:
        return cluster_vertices(v, f, c, faces)
    from scipy.spatial import KDTree

    # its annotations are wrong: without return_collapses it returns a pair, and it takes float32
    simplify: Any = fast_simplification.simplify
    with _SIMPLIFYING:
        points, kept = simplify(
            np.ascontiguousarray(v, dtype=np.float32),
            np.ascontiguousarray(f, dtype=np.int32),
            target_count=faces,
        )
    if not len(kept):
        return cluster_vertices(v, f, c, faces)
    near = c[KDTree(v).query(points)[1]] if c is not None else None
    return points.astype(np.float64), kept.astype(np.int64), near


def cluster_vertices(
    v: np.ndarray, f: np.ndarray, c: np.ndarray | None, faces: int
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Merge the vertices in each cell of a grid into their mean.

    The grid is the finest one that leaves at most ``faces`` faces.
    """
    low, size = v.min(0), float((v.max(0) - v.min(0)).max()) or 1.0
    best = None
    under, over = 2, 2048
    while under < over:
        cells = (under + over + 1) // 2
        made = _clustered(v, f, c, low, size / cells)
        if len(made[1]) <= faces:
            under, best = cells, made
        else:
            over = cells - 1
    return best or _clustered(v, f, c, low, size / under)


def _clustered(
    v: np.ndarray, f: np.ndarray, c: np.ndarray | None, low: np.ndarray, cell: float
) -> tuple[np.ndarray, np.ndarray, Any]:
    at = ((v - low) / cell).astype(np.int64)
    _, label, count = np.unique(at @ np.array([1, 4096, 4096**2]), return_inverse=True, return_counts=True)
    label = label.ravel()

    def mean(values: np.ndarray) -> np.ndarray:
        return (
            np.stack([np.bincount(label, values[:, k], len(count)) for k in range(3)], axis=1)
            / count[:, None]
        )

    g = label[f]
    g = g[(g[:, 0] != g[:, 1]) & (g[:, 1] != g[:, 2]) & (g[:, 2] != g[:, 0])]
    used, g = np.unique(g, return_inverse=True)
    color = None if c is None else mean(c.astype(float)).round().astype(np.uint8)[used]
    return mean(v)[used], g.reshape(-1, 3), color


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Vertices, faces between finite ones, and colours of a mesh file. Raises InputError if there are none."""
    import trimesh

    try:
        require_mesh_file(regular(path))
        mesh = trimesh.load_mesh(path, file_type=path.suffix[1:].lower(), process=False)
    except InputError:
        raise
    except Exception as error:  # trimesh's readers raise errors of many types
        raise InputError(f"{path.name} cannot be read as a mesh: {type(error).__name__}: {error}") from error
    v = np.asarray(getattr(mesh, "vertices", np.empty((0, 3))), dtype=np.float64)
    f = np.asarray(getattr(mesh, "faces", np.empty((0, 3))), dtype=np.int64)
    require_indices(path, v, f)
    finite: np.ndarray = np.asarray((np.abs(v) < FARTHEST).all(axis=1))  # NaN is not, either
    f = f[finite[f].all(axis=1)] if len(f) else f
    if not len(f):
        raise InputError(f"{path.name} has {len(v)} vertices and no faces between finite ones")
    used, f = np.unique(f, return_inverse=True)
    color = None
    visual = getattr(mesh, "visual", None)
    if visual is not None and visual.kind == "vertex":
        color = np.asarray(visual.vertex_colors)[used, :3].astype(np.uint8)
    return v[used], f.reshape(-1, 3), color
