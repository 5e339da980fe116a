"""Connected parts, areas and normals of a triangle mesh.

Axes: N vertices, F faces.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from isosweep.types import Mesh


def largest_component(mesh: Mesh) -> Mesh:
    """The connected part with the largest area; two parts share no vertex."""
    label = face_components(mesh)
    areas = np.bincount(label, weights=face_areas(mesh))
    return with_faces(mesh, label == int(np.argmax(areas)))


def largest_components(mesh: Mesh, count: int) -> Mesh:
    """The ``count`` connected parts with the largest areas, with the colours of their vertices."""
    label = face_components(mesh)
    areas = np.bincount(label, weights=face_areas(mesh))
    kept = np.isin(label, np.argsort(-areas, kind="stable")[:count])
    used, back = np.unique(mesh.faces[kept], return_inverse=True)
    colors = None if mesh.colors is None else mesh.colors[used]
    return Mesh(mesh.vertices[used], back.reshape(-1, 3), colors)


def with_faces(mesh: Mesh, keep: Bool[np.ndarray, " f"]) -> Mesh:
    """The faces that are marked, with their vertices; without colours and normals."""
    used, back = np.unique(mesh.faces[keep], return_inverse=True)
    return Mesh(mesh.vertices[used], back.reshape(-1, 3))


def vertex_normals(mesh: Mesh) -> Float[np.ndarray, "n 3"]:
    """The unit normal of each vertex: the mean of its faces' normals, weighted by area; zero if they have no area."""
    weighted = face_normals(mesh) * face_areas(mesh)[:, None]
    corner, size = mesh.faces.T.ravel(), len(mesh.vertices)
    total = np.stack([np.bincount(corner, np.tile(weighted[:, k], 3), size) for k in range(3)], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)


def merge_vertices(mesh: Mesh) -> Mesh:
    """The mesh with vertices at the same place merged; faces that lose a corner by it are dropped."""
    order = np.lexsort(mesh.vertices.T[::-1])
    place = mesh.vertices[order]
    new = np.ones(len(place), bool)
    new[1:] = (place[1:] != place[:-1]).any(axis=1)
    back = np.empty(len(place), np.int64)
    back[order] = np.cumsum(new) - 1
    place, faces = place[new], back[mesh.faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return Mesh(place, faces[whole])


def face_components(mesh: Mesh) -> Int[np.ndarray, " f"]:
    """The number of the connected part that each face belongs to; faces that share a vertex are in one part."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    f = mesh.faces
    joined = (np.ones(2 * len(f), dtype=bool), (f[:, :2].T.ravel(), f[:, 1:].T.ravel()))
    label = connected_components(coo_matrix(joined, shape=(len(mesh.vertices),) * 2), directed=False)[1]
    return np.unique(label[f[:, 0]], return_inverse=True)[1].reshape(-1)


def face_areas(mesh: Mesh) -> Float[np.ndarray, " f"]:
    """The area of each face, |(b - a) x (c - a)| / 2, in squared units of the vertices."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def face_normals(mesh: Mesh) -> Float[np.ndarray, "f 3"]:
    """The unit normal of each face, by the right-hand rule; zero for a face without area."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    cross = np.cross(b - a, c - a)
    return cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-300)
