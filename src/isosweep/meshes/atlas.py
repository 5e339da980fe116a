"""Unwrap a mesh into charts of a texture, by xatlas; and the texels that the charts cover.

Axes: N vertices and F faces of the mesh, C corners of the charts, T texels.

A texture has S x S texels; row 0 is its upper edge. Texture coordinates (u, v) are in [0, 1], u to the right and v
upwards, so the centre of texel [row, col] has u = (col + 1/2) / S and v = 1 - (row + 1/2) / S.
"""

import importlib
import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from isosweep.errors import InputError
from isosweep.meshes.triangulators import require_package
from isosweep.types import Mesh

log = logging.getLogger("isosweep")

GAP = 4
"""Texels between two charts, so that a texture that is drawn at a quarter of its size mixes no charts."""
_AT_ONCE = 1 << 18
"""Pairs of a face and a texel of its frame that are tried at once, which keeps them in the cache."""


@dataclass(frozen=True)
class Atlas:
    """Where each face of a mesh lies in the texture. Vertices on seams have several corners."""

    uv: Float[np.ndarray, "c 2"]
    vertex: Int[np.ndarray, " c"]
    """The mesh's vertex that a corner is at."""
    faces: Int[np.ndarray, "f 3"]
    """The corners of each face, in the mesh's order of faces and of their vertices."""


@dataclass(frozen=True)
class Texels:
    """The texels whose centres lie in a face's chart."""

    row: Int[np.ndarray, " t"]
    col: Int[np.ndarray, " t"]
    face: Int[np.ndarray, " t"]
    weights: Float[np.ndarray, "t 3"]
    """Barycentric coordinates of the texel's centre: weights of the face's three vertices."""

    def of(self, mesh: Mesh, values: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "t 3"]:
        """What values at the mesh's vertices are at the texels, linear over each face."""
        corner = mesh.faces[self.face]
        return sum(self.weights[:, [k]] * values[corner[:, k]] for k in range(3))  # pyright: ignore[reportReturnType]


def require() -> None:
    """Check that xatlas is installed.

    Raises:
        InputError: it is not.
    """
    require_package("xatlas", "xatlas", "export.texture", "null writes colours at the vertices")


def unwrap(mesh: Mesh, size: int) -> Atlas:
    """Cut a mesh into charts and pack them into a texture of ``size`` x ``size`` texels, ``GAP`` apart.

    Raises:
        InputError: xatlas is not installed, or so many charts do not fit.
    """
    require()
    xatlas = importlib.import_module("xatlas")
    began = time.perf_counter()
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    scale = float((high - low).max()) or 1.0
    unwrapped = xatlas.Atlas()
    unwrapped.add_mesh(
        np.ascontiguousarray((mesh.vertices - low) / scale, dtype=np.float32),
        np.ascontiguousarray(mesh.faces, dtype=np.uint32),
    )
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding, pack.bilinear = size, GAP, True
    unwrapped.generate(pack_options=pack)
    vertex, faces, uv = unwrapped.get_mesh(0)
    if unwrapped.atlas_count != 1:
        raise InputError(
            f"export.texture={size}: the mesh's {unwrapped.chart_count} charts do not fit into one texture. Give a "
            "larger one, or fewer faces (export.faces)"
        )
    # xatlas may take a rectangle a little larger than asked for; its coordinates are fractions of that
    extent = np.array([unwrapped.width, unwrapped.height]) / max(unwrapped.width, unwrapped.height)
    log.info(
        "unwrapped %d faces into %d charts in %.1f s; they cover %.0f%% of the texture",
        len(mesh.faces),
        unwrapped.chart_count,
        time.perf_counter() - began,
        100 * unwrapped.utilization * extent.prod(),
    )
    return Atlas(uv.astype(np.float64) * extent, vertex.astype(np.int64), faces.astype(np.int64))


def texels(atlas: Atlas, size: int) -> Texels:
    """The texels of a texture of ``size`` x ``size`` whose centres the charts cover. One on an edge is of one face."""
    at = np.stack([atlas.uv[:, 0] * size - 0.5, (1 - atlas.uv[:, 1]) * size - 0.5], axis=1)[atlas.faces]
    area = _cross(at[:, 1] - at[:, 0], at[:, 2] - at[:, 0])
    first = np.maximum(np.ceil(at.min(axis=1) - 1e-9), 0).astype(np.int64)
    last = np.minimum(np.floor(at.max(axis=1) + 1e-9), size - 1).astype(np.int64)
    frame = np.maximum(last - first + 1, 0)
    count = frame.prod(axis=1) * (area != 0)
    owner = np.full(size * size, -1, dtype=np.int64)
    weights = np.zeros((size * size, 3))
    ends = np.cumsum(count)
    begin = 0
    while begin < len(count):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _AT_ONCE, side="right")))
        face = np.repeat(np.arange(begin, end), count[begin:end])
        place = np.arange(len(face)) - np.repeat(ends[begin:end] - count[begin:end] - done, count[begin:end])
        centre = first[face] + np.stack([place % frame[face, 0], place // frame[face, 0]], axis=1)
        a, b, c = (at[face, k] - centre for k in range(3))
        share = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], axis=1) / area[face, None]
        inside = (share >= -1e-9).all(axis=1)
        flat = centre[inside, 1] * size + centre[inside, 0]
        owner[flat], weights[flat] = face[inside], share[inside]
        begin = end
    found = np.flatnonzero(owner >= 0)
    return Texels(found // size, found % size, owner[found], weights[found])


def _cross(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def spread(image: Float[np.ndarray, "s s 3"], known: Texels) -> Float[np.ndarray, "s s 3"]:
    """The image with every texel outside the charts in the colour of the nearest one inside.

    So no seam shows where a texture is interpolated or drawn smaller.
    """
    from scipy.ndimage import distance_transform_edt

    outside = np.ones(image.shape[:2], dtype=bool)
    outside[known.row, known.col] = False
    nearest: Any = distance_transform_edt(outside, return_distances=False, return_indices=True)
    return image[nearest[0], nearest[1]]
