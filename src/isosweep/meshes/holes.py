"""Close small holes of a mesh (``export.fill_holes``).

A hole is a loop of edges that have a face on one side alone. It is closed by the triangles between its own vertices
whose areas have the smallest sum, so no vertex is added. Source: Barequet and Sharir 1995, filling gaps in the
boundary of a polyhedron.

Axes: N vertices, F faces, n vertices of one loop.
"""

import logging
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from isosweep.types import Mesh

log = logging.getLogger("isosweep")

MOST_EDGES = 400
"""Longest loop that is closed: the work grows with the cube of its edges."""
SHORTER = 1e-4
"""Weight of a triangle's squared sides beside its area."""


def filled(mesh: Mesh, longest: float) -> Mesh:
    """The mesh with its holes closed whose edges have at most the length ``longest`` together, in the mesh's units.

    Larger holes stay open, and so does one whose loop has more than ``MOST_EDGES`` edges or that cannot be closed
    without a third face on an edge. The log counts both. Colours and normals stay as they are.
    """
    new: list[Int[np.ndarray, "m 3"]] = []
    large = hard = 0
    edges = _edges(mesh.faces)
    for loop in loops(mesh):
        corners = mesh.vertices[loop]
        length = float(np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1).sum())
        if length > longest:
            large += 1
            continue
        made = _patch(corners, _joined(loop, edges)) if len(loop) <= MOST_EDGES else None
        if made is None:
            hard += 1
            continue
        new.append(loop[made])
        edges |= _edges(new[-1])
    log.info(
        "filling holes up to a length of %.4g: %d closed, %d larger ones stay, %d could not be closed",
        longest,
        len(new),
        large,
        hard,
    )
    return Mesh(mesh.vertices, np.concatenate([mesh.faces, *new]), mesh.colors, mesh.normals)


def loops(mesh: Mesh) -> Iterator[Int[np.ndarray, " n"]]:
    """The loops of edges with one face, each in the order in which faces that close it go round.

    Where loops touch in a vertex they are told apart; which edge belongs to which may then be chosen in two ways.
    """
    start, end = mesh.faces.ravel(), np.roll(mesh.faces, -1, axis=1).ravel()
    size = len(mesh.vertices)
    ahead, back = start * size + end, end * size + start
    open_ = ~np.isin(ahead, back)
    follows: dict[int, list[int]] = {}
    for a, b in zip(end[open_].tolist(), start[open_].tolist(), strict=True):
        follows.setdefault(a, []).append(b)
    for first in list(follows):
        path, place = [first], {first: 0}
        while follows.get(path[-1]):
            at = follows[path[-1]].pop()
            if at in place:
                cut = place[at]
                if len(path) - cut >= 3:
                    yield np.array(path[cut:])
                for left in path[cut + 1 :]:
                    del place[left]
                path = path[: cut + 1]
            else:
                place[at] = len(path)
                path.append(at)


def _edges(faces: Int[np.ndarray, "f 3"]) -> set[tuple[int, int]]:
    """The edges of faces, the smaller vertex first."""
    pairs = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    return set(map(tuple, np.unique(np.sort(pairs, axis=1), axis=0).tolist()))


def _joined(loop: Int[np.ndarray, " n"], edges: set[tuple[int, int]]) -> Bool[np.ndarray, "n n"]:
    """Which vertices of a loop have an edge of the mesh already, other than the loop's own."""
    n = len(loop)
    out = np.zeros((n, n), dtype=bool)
    for i in range(n):
        for j in range(i + 2, n):
            a, b = sorted((int(loop[i]), int(loop[j])))
            out[i, j] = (a, b) in edges and (i, j) != (0, n - 1)
    return out


def _patch(
    corners: Float[np.ndarray, "n 3"], joined: Bool[np.ndarray, "n n"]
) -> Int[np.ndarray, "m 3"] | None:
    """Triangles [n - 2, 3] between a loop's vertices with the smallest sum of areas; None where ``joined`` bars all.

    cost[i, j] of the part between the edge (i, j) and the loop is the least of cost[i, k] + cost[k, j] + area(i, k, j)
    over k between them. All parts with the same j - i are computed at once. Between equal areas the shorter sides win,
    so that no triangle lies on a line.
    """
    n = len(corners)
    cost = np.zeros((n, n))
    best = np.zeros((n, n), dtype=np.int64)
    for span in range(2, n):
        i = np.arange(n - span)[:, None]
        j, k = i + span, i + np.arange(1, span)[None]
        sides = corners[k] - corners[i], corners[j] - corners[i], corners[k] - corners[j]
        area = 0.5 * np.linalg.norm(np.cross(sides[0], sides[1]), axis=-1)
        squares = sum(np.square(side).sum(-1) for side in sides)
        total = cost[i, k] + cost[k, j] + area + SHORTER * squares
        chosen = total.argmin(axis=1)
        rows = np.arange(n - span)
        barred = joined[rows, rows + span]
        cost[rows, rows + span] = np.where(barred, np.inf, total[rows, chosen])
        best[rows, rows + span] = rows + 1 + chosen
    if not np.isfinite(cost[0, n - 1]):
        return None
    triangles, todo = [], [(0, n - 1)]
    while todo:
        i, j = todo.pop()
        if j - i >= 2:
            k = int(best[i, j])
            triangles.append((i, k, j))
            todo += [(i, k), (k, j)]
    return np.array(triangles)
