"""The points that stand for a DTU mesh: lattices on its triangles, thinned in a seeded order, in bounded memory.

Symbols: N points, F faces, n1 and n2 steps of a triangle's lattice along its two edges.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int

from isosweep.errors import InputError
from isosweep.types import Mesh

if TYPE_CHECKING:
    from scipy.spatial import KDTree

ROWS, POINTS = 1 << 20, 1 << 21
"""Largest number of lattice rows, and of points, that are made at once."""
FIRST, BATCH = 1 << 10, 1 << 19
"""Number of points in the first and in the largest batch of `thin`."""
MOST_SAMPLES = 400_000_000
"""At a pitch of 0.2 mm these are 16 m^2. A surface that needs more is in other units, or broken."""


def triangle_lattices(mesh: Mesh, pitch: float) -> Iterator[Float[np.ndarray, "n 3"]]:
    """The points of a regular lattice in each triangle, in blocks [N, 3] of at most a few million.

    With the edges e1 and e2 from a triangle's first corner, their lengths l1 and l2, and A twice its area:
      t = pitch sqrt(l1 l2 / A), n1 = floor(l1 / t), n2 = floor(l2 / t),
      points: corner + (i + 1/2) / n1 e1 + (j + 1/2) / n2 e2, if the two fractions add up to less than 1.
    There is about one point for each pitch^2 of area. Triangles that are smaller, or have no area, get none.
    Source: DTUeval-python, sample_single_tri.

    Args:
        pitch: distance of neighbouring points, in the units of the vertices (mm).

    Raises:
        InputError: the mesh needs more than ``MOST_SAMPLES`` points.
    """
    start, total = 0, 0.0
    for start in range(0, len(mesh.faces), ROWS):
        total += _lattice(mesh, mesh.faces[start : start + ROWS], pitch)[4].sum() / 2
    if total > MOST_SAMPLES:
        raise InputError(
            f"the surface needs {total:.3g} samples at a pitch of {pitch:g}, the limit is {MOST_SAMPLES:.0e}: "
            f"its coordinates reach from {mesh.vertices.min(0).tolist()} to {mesh.vertices.max(0).tolist()}. Give "
            "a mesh in the units of the protocol (--transform), or remove its stray triangles"
        )
    for start in range(0, len(mesh.faces), ROWS):
        corner, edge1, edge2, steps, count = _lattice(mesh, mesh.faces[start : start + ROWS], pitch)
        some = np.flatnonzero(count > 0)
        rows = np.cumsum(steps[some, 0])
        first = 0
        while first < len(some):
            done = rows[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(rows, done + ROWS, side="right")))
            face = some[first:last]
            yield from _points(corner[face], edge1[face], edge2[face], steps[face])
            first = last


def _lattice(mesh: Mesh, faces: np.ndarray, pitch: float) -> tuple[np.ndarray, ...]:
    """(first corner, e1, e2, [n1, n2], n1 n2) of each of some faces."""
    corner, b, c = (mesh.vertices[faces[:, i]].astype(np.float64) for i in range(3))
    edge1, edge2 = b - corner, c - corner
    l1, l2 = (np.linalg.norm(edge, axis=1) for edge in (edge1, edge2))
    area2 = np.linalg.norm(np.cross(edge1, edge2), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = pitch * np.sqrt(l1 * l2 / area2)
        steps = np.floor(np.stack([l1 / step, l2 / step], axis=1))
    steps = np.where((area2 > 0)[:, None], steps, 0.0)
    return corner, edge1, edge2, steps.astype(np.int64), steps.prod(axis=1)


def _points(
    corner: np.ndarray, edge1: np.ndarray, edge2: np.ndarray, steps: np.ndarray
) -> Iterator[np.ndarray]:
    face = np.repeat(np.arange(len(steps)), steps[:, 0])
    row = np.arange(len(face)) - np.repeat(np.cumsum(steps[:, 0]) - steps[:, 0], steps[:, 0])
    n1, n2 = steps[face, 0], steps[face, 1]
    along = (row + 0.5) / n1
    # This may be one point too many; the sum of the fractions below decides, as in the source.
    width = np.minimum(np.floor(n2 * (1 - along) + 0.5).astype(np.int64) + 1, n2)
    ends = np.cumsum(width)
    start = 0
    while start < len(face):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + POINTS, side="right")))
        part = slice(start, stop)
        line = np.repeat(np.arange(start, stop), width[part])
        column = np.arange(len(line)) - np.repeat(ends[part] - width[part] - done, width[part])
        first, second = along[line], (column + 0.5) / n2[line]
        inside = first + second < 1
        at = face[line[inside]]
        yield edge1[at] * first[inside, None] + edge2[at] * second[inside, None] + corner[at]
        start = stop


def shuffled(points: Float[np.ndarray, "n 3"], seed: int) -> Int[np.ndarray, " n"]:
    """A random order of points that depends on their coordinates and the seed, not on their order in the file.

    The points are sorted by a hash of their coordinates' bits and the seed (the finaliser of splitmix64). So the same
    surface gives the same thinned points, whatever the order of its vertices and faces.

    Returns: the indices of the points, in the new order.
    """
    mixed = np.empty(len(points), dtype=np.uint64)
    for start in range(0, len(points), POINTS):
        block = np.ascontiguousarray(points[start : start + POINTS], dtype=np.float64) + 0.0  # -0 is 0
        state = np.full(len(block), seed % (1 << 64), dtype=np.uint64)
        for axis in range(3):
            state = _mix(state ^ np.ascontiguousarray(block[:, axis]).view(np.uint64))
        mixed[start : start + POINTS] = state
    return np.argsort(mixed)


def _mix(state: np.ndarray) -> np.ndarray:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def thin(
    points: Float[np.ndarray, "n 3"], radius: float, order: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "m 3"]:
    """Go through the points in ``order`` and keep each one that is farther than ``radius`` from all kept before it.

    Source: DTUeval-python. The result is that of going through the points one by one; the batches do not change it.
    They bound the memory: a list of all close pairs has no bound. A batch is compared with the kept points first, and
    only what is left of it is compared within itself. Batches start small and double, so that the first ones cover a
    dense cluster before many of its points are compared with each other.

    Args:
        points: N points in mm.
        radius: mm.
        order: indices of the points, as `shuffled` gives them.

    Returns: the kept points [M, 3].
    """
    from scipy.spatial import KDTree

    reach = float(np.nextafter(radius, np.inf))  # the tree leaves out distances equal to its bound
    trees: list[KDTree] = []
    start, size = 0, FIRST
    while start < len(order):
        batch = np.ascontiguousarray(points[order[start : start + size]], dtype=np.float64)
        for tree in trees:
            batch = batch[np.isinf(nearest(tree, batch, reach))]
        batch = _first_come(batch, radius)
        # Trees are merged like the digits of a counter: there are few, and a point is sorted at most log N times.
        while trees and len(batch) and trees[-1].n <= 2 * len(batch):
            batch = np.concatenate([trees.pop().data, batch])
        if len(batch):
            trees.append(KDTree(batch, balanced_tree=False, compact_nodes=False))
        start, size = start + size, min(2 * size, BATCH)
    return np.concatenate([np.zeros((0, 3)), *(tree.data for tree in trees)])


def nearest(
    tree: "KDTree", points: Float[np.ndarray, "n 3"], bound: float = np.inf
) -> Float[np.ndarray, " n"]:
    """The distance of each point to the nearest point of the tree; inf if it is ``bound`` or more.

    Neighbouring points are looked up one after the other, which is four times as fast on a tree that is larger than the
    caches.
    """
    if len(points) == 0:
        return np.zeros(0)
    cell = np.maximum(np.ptp(points, axis=0).max() / 512, 1e-12)
    x, y, z = ((points - points.min(axis=0)) / cell).astype(np.int64).T
    order = np.argsort((x * 1024 + y) * 1024 + z)
    out = np.empty(len(points))
    out[order] = tree.query(points[order], distance_upper_bound=bound, workers=torch.get_num_threads())[0]
    return out


def _first_come(points: np.ndarray, radius: float) -> np.ndarray:
    """`thin` of a few points, in their order.

    In each round, a point without an earlier neighbour is kept, and its later neighbours are removed.
    """
    from scipy.spatial import KDTree

    if len(points) < 2:
        return points
    pairs = KDTree(points).query_pairs(radius, output_type="ndarray")  # first < second
    alive = np.ones(len(points), dtype=bool)
    while len(pairs):
        has_earlier = np.zeros(len(points), dtype=bool)
        has_earlier[pairs[:, 1]] = True
        alive[pairs[~has_earlier[pairs[:, 0]], 1]] = False
        pairs = pairs[alive[pairs].all(axis=1)]
    return points[alive]
