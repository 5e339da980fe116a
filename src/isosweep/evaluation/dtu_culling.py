"""The ways in which papers remove surface outside the object's masks before they score a DTU mesh.

They keep different rims of open scenes, so the preset is part of a number's name.
Symbols: V views, H, W pixels of a mask, F faces, r reach of a kernel in pixels of a mask 1600 wide.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from isosweep.errors import InputError
from isosweep.evaluation.surface_metrics import Seen
from isosweep.meshes import raycast, topology
from isosweep.types import Mesh

FULL_WIDTH = 1600
"""Pixels of a DTU photograph's longer side, for which the kernels are given."""


@dataclass(frozen=True)
class Preset:
    """A vertex passes when it is on the grown mask in every view whose frame it is in."""

    shape: Literal["ellipse", "disk", "square"]
    reach: int
    corners: Literal["all", "any"]
    """Which corners of a face have to pass."""
    views: int = 0
    """Frames that a vertex must at least be in."""
    largest: Literal["faces", "area"] | None = None
    """Only the connected part with most of this is kept."""
    loose: bool = True
    """Vertices that pass are points even where all their faces are gone."""


PRESETS: dict[str, Preset | None] = {
    "none": None,
    "neus": Preset("ellipse", 50, "all", largest="faces", loose=False),
    "monosdf": Preset("disk", 12, "all"),
    "2dgs": Preset("disk", 24, "all"),
    "neuralwarp": Preset("square", 25, "any", views=2, largest="area", loose=False),
}
"""neus: the authors' clean_points_by_mask (NeuS issues 3 and 74). monosdf: MonoSDF dtu_eval. 2dgs: 2DGS eval_dtu.
neuralwarp: NeuralWarp clean_mesh.py and mesh_filtering.py (masks grown by 51x51, the part with most area).

Where they differ from each other by less than a pixel they are one here: a vertex takes the mask's nearest
pixel (NeuralWarp takes any of the four around it), is in the frame where that pixel is, and points behind a
camera are out of its frame (NeuS mirrors them through the camera).
"""


def preset(name: str) -> Preset | None:
    """The preset of that name; ValueError lists them."""
    if name not in PRESETS:
        raise InputError(f"culling preset '{name}' is none of {', '.join(PRESETS)}: choose one of them")
    return PRESETS[name]


def cull(mesh: Mesh, name: str, seen: Seen | None) -> Mesh:
    """What is left of a mesh in world units under a preset; the mesh itself for 'none'.

    Kernels are scaled with the mask's longer side.

    Raises:
        ValueError: no such preset; it needs masks and ``seen`` has none.
    """
    rule = preset(name)
    if rule is None:
        return mesh
    if seen is None or not any(mask is not None for mask in seen.masks):
        raise InputError(
            f"culling preset '{name}' looks up the object's masks, and there are none: give the scene's folder with "
            "mask/ and cameras (--images-from), or take --cull none"
        )
    inside = np.ones(len(mesh.vertices), dtype=bool)
    framed = np.zeros(len(mesh.vertices), dtype=np.int16)
    for view, mask in zip(seen.views, seen.masks, strict=True):
        if mask is None:
            continue
        ground = grown(mask, kernel(rule.shape, round(rule.reach * max(mask.shape) / FULL_WIDTH)))
        row, col, frame = raycast.project(seen.cameras, view, mesh.vertices)
        inside &= ~frame | ground[row, col]
        framed += frame
    passed = inside & (framed >= rule.views)
    kept = passed[mesh.faces]
    faces = mesh.faces[kept.all(axis=1) if rule.corners == "all" else kept.any(axis=1)]
    if rule.largest is not None:
        faces = _largest(Mesh(mesh.vertices, faces), rule.largest)
    return _only(mesh, faces, passed if rule.loose else np.zeros_like(passed))


def kernel(shape: str, reach: int) -> Int[np.ndarray, " rows"]:
    """Half the width, in pixels, of every row -reach .. reach of a structuring element.

    'ellipse' is OpenCV's MORPH_ELLIPSE (half widths rounded), 'disk' scikit-image's (x^2 + y^2 <= r^2).
    """
    rows = np.arange(-reach, reach + 1)
    if shape == "square":
        return np.full(len(rows), reach)
    half = np.sqrt(reach**2 - rows**2)
    return (np.rint(half) if shape == "ellipse" else np.floor(half + 1e-9)).astype(np.int64)


def grown(mask: Bool[np.ndarray, "h w"], half_widths: Int[np.ndarray, " rows"]) -> Bool[np.ndarray, "h w"]:
    """Dilation by a structuring element that is given by its rows: one comparison a row of the element."""
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
    """The number of the part each face belongs to, as trimesh's ``split`` has them, which both scripts call.

    Faces are neighbours across an edge that exactly two share, vertices at one place being one.
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
    """Those faces with their vertices, and the vertices ``loose``."""
    used = loose.copy()
    used[faces] = True
    number = np.cumsum(used) - 1
    return Mesh(mesh.vertices[used], number[faces])
