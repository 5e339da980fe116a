"""Culling of a DTU mesh before it is scored: presets that remove the surface outside the object's masks.

Papers cull in different ways, which keep different borders of an open surface. So the preset is part of the protocol's
name. Axes: V views, H, W pixels of a mask, F faces.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from isosweep.errors import InputError
from isosweep.evaluation.surface_metrics import Observers
from isosweep.meshes import raycast, topology
from isosweep.types import Mesh

FULL_WIDTH = 1600
"""Pixels along the longer side of a DTU photograph; the kernels' sizes are given for it."""


@dataclass(frozen=True)
class Preset:
    """A rule of culling: a vertex passes if it is on the dilated mask in every view whose frame it lies in."""

    shape: Literal["ellipse", "disk", "square"]
    reach: int
    """From the middle of the kernel that dilates the masks to its border, in pixels of a mask 1600 wide."""
    corners: Literal["all", "any"]
    """Which corners of a face have to pass."""
    views: int = 0
    """A vertex passes only if it lies in the frames of at least this many views."""
    largest: Literal["faces", "area"] | None = None
    """If given, only the connected part with the most faces, or with the largest area, is kept."""
    loose: bool = True
    """A vertex that passes stays a point of the mesh, even if none of its faces stays."""


PRESETS: dict[str, Preset | None] = {
    "none": None,
    "neus": Preset("ellipse", 50, "all", largest="faces", loose=False),
    "monosdf": Preset("disk", 12, "all"),
    "2dgs": Preset("disk", 24, "all"),
    "neuralwarp": Preset("square", 25, "any", views=2, largest="area", loose=False),
}
"""Sources: neus is the authors' clean_points_by_mask (NeuS issues 3 and 74), monosdf is MonoSDF's dtu_eval, 2dgs is
2DGS' eval_dtu, neuralwarp is NeuralWarp's clean_mesh.py and mesh_filtering.py (masks dilated by 51x51, the part with
the largest area).

All presets read masks in one way, which differs from the sources by less than a pixel. A vertex reads the nearest pixel
of the mask (NeuralWarp: any of the four around it). It lies in the frame if that pixel does. A point behind a camera is
outside its frame (NeuS mirrors it through the camera).
"""


def preset(name: str) -> Preset | None:
    """The preset of that name; None for 'none'.

    Raises:
        InputError: there is no such preset; the message lists them.
    """
    if name not in PRESETS:
        raise InputError(f"culling preset '{name}' is none of {', '.join(PRESETS)}: choose one of them")
    return PRESETS[name]


def cull(mesh: Mesh, name: str, observers: Observers | None) -> Mesh:
    """The part of a mesh that a preset keeps; the mesh itself for 'none'.

    Kernels are scaled with the mask's longer side.

    Args:
        mesh: in world units (mm).
        name: of the preset.
        observers: cameras in the same units, and masks.

    Raises:
        InputError: there is no such preset, or it needs masks and ``observers`` has none.
    """
    rule = preset(name)
    if rule is None:
        return mesh
    if observers is None or not any(mask is not None for mask in observers.masks):
        raise InputError(
            f"culling preset '{name}' needs the object's masks, and there are none: give the scene's folder with "
            "mask/ and cameras (--images-from), or take --cull none"
        )
    inside = np.ones(len(mesh.vertices), dtype=bool)
    framed = np.zeros(len(mesh.vertices), dtype=np.int16)
    for view, mask in zip(observers.views, observers.masks, strict=True):
        if mask is None:
            continue
        ground = dilated(mask, kernel(rule.shape, round(rule.reach * max(mask.shape) / FULL_WIDTH)))
        row, col, frame = raycast.project(observers.cameras, view, mesh.vertices)
        inside &= ~frame | ground[row, col]
        framed += frame
    passed = inside & (framed >= rule.views)
    kept = passed[mesh.faces]
    faces = mesh.faces[kept.all(axis=1) if rule.corners == "all" else kept.any(axis=1)]
    if rule.largest is not None:
        faces = _largest(Mesh(mesh.vertices, faces), rule.largest)
    return _only(mesh, faces, passed if rule.loose else np.zeros_like(passed))


def kernel(shape: str, reach: int) -> Int[np.ndarray, " rows"]:
    """A structuring element as the half width, in pixels, of each of its rows from -reach to reach.

    'ellipse' is OpenCV's MORPH_ELLIPSE (half widths rounded), 'disk' is scikit-image's (x^2 + y^2 <= reach^2),
    'square' has the half width ``reach`` in every row.
    """
    rows = np.arange(-reach, reach + 1)
    if shape == "square":
        return np.full(len(rows), reach)
    half = np.sqrt(reach**2 - rows**2)
    return (np.rint(half) if shape == "ellipse" else np.floor(half + 1e-9)).astype(np.int64)


def dilated(mask: Bool[np.ndarray, "h w"], half_widths: Int[np.ndarray, " rows"]) -> Bool[np.ndarray, "h w"]:
    """The mask [H, W] dilated by a structuring element, which is given by the half widths of its rows.

    Each row of the element costs one comparison of the image with the distance to the mask along its rows.
    """
    h, w = mask.shape
    reach = len(half_widths) // 2
    column = np.arange(w)
    before = np.maximum.accumulate(np.where(mask, column, -w - reach), axis=1)
    after = np.minimum.accumulate(np.where(mask, column, 2 * w + reach)[:, ::-1], axis=1)[:, ::-1]
    gap = np.minimum(np.minimum(column - before, after - column), np.iinfo(np.int16).max).astype(np.int16)
    out = np.zeros_like(mask)
    for shift, half in zip(range(-reach, reach + 1), half_widths.tolist(), strict=True):
        low, high = max(0, -shift), min(h, h - shift)
        if low < high:
            out[low:high] |= gap[low + shift : high + shift] <= half
    return out


def _largest(mesh: Mesh, by: str) -> Int[np.ndarray, "f 3"]:
    if len(mesh.faces) == 0:
        return mesh.faces
    label = parts(mesh)
    weight = topology.face_areas(mesh) if by == "area" else None
    return mesh.faces[label == int(np.argmax(np.bincount(label, weights=weight)))]


def parts(mesh: Mesh) -> Int[np.ndarray, " f"]:
    """The number of the connected part that each face belongs to, as in trimesh's ``split``, which both scripts call.

    Two faces are neighbours if they alone share an edge. Vertices at the same place count as one vertex.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    place = np.unique(mesh.vertices, axis=0, return_inverse=True)[1].reshape(-1)
    ends = np.sort(place[mesh.faces][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    code = ends[:, 0].astype(np.int64) * len(mesh.vertices) + ends[:, 1]
    order = np.argsort(code, kind="stable")
    _, first, uses = np.unique(code[order], return_index=True, return_counts=True)
    first = first[uses == 2]
    one, two = order[first] // 3, order[first + 1] // 3
    joined = (np.ones(len(one), dtype=bool), (one, two))
    return connected_components(coo_matrix(joined, shape=(len(mesh.faces),) * 2), directed=False)[1]


def _only(mesh: Mesh, faces: Int[np.ndarray, "f 3"], loose: Bool[np.ndarray, " v"]) -> Mesh:
    """The mesh of ``faces``, with their vertices and the vertices marked in ``loose``."""
    used = loose.copy()
    used[faces] = True
    number = np.cumsum(used) - 1
    return Mesh(mesh.vertices[used], number[faces])
