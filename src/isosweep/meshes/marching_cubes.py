"""Marching cubes over a field, block by block. One block and the mesh have to fit into memory, not the whole grid.

Words: a node is a grid point; a cell is the cube between eight nodes; a tile is a cube of ``COARSE`` cells along each
side; a block is a cube of tiles. Axes: P points. Indices are in the order (x, y, z) everywhere.

The field is evaluated only in tiles that may hold surface:
1. The nodes at the tiles' corners are evaluated. A tile becomes active if its corners differ in sign. It also becomes
   active if a corner's value is small: smaller than the change of the field over half the tile's diagonal at the
   steepest slope nearby, times ``MARGIN``. (The slope is the largest difference along a tile's edge in the 3x3x3 tiles
   around it.) For a distance field this finds sheets and parts that are thinner than a tile.
2. Active tiles are evaluated at every node. If a node on the border of an inactive tile has another sign than that
   tile, the tile becomes active. So every piece of surface that is found is followed to its end.
A closed piece smaller than a tile is missed if the field is flat around it. If no tile is active, the whole grid is
evaluated before the level set is called empty.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isosweep.errors import InputError
from isosweep.meshes.triangulators import Triangulator, triangulator
from isosweep.runtime import interrupts, progress
from isosweep.runtime.progress import Progress
from isosweep.types import Mesh

COARSE = 4
MARGIN = 1.5
_NEAREST = 1e-3
"""A vertex stays this fraction of a cell's side away from the nodes, so that no two vertices coincide."""

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class _Grid:
    low: Float[np.ndarray, "3"]
    step: float
    cells: Triple
    level: float
    field: Callable[[Tensor], Tensor]
    chunk: int
    device: torch.device
    triangulate: Triangulator

    @property
    def tiles(self) -> Triple:
        x, y, z = (-(-n // COARSE) for n in self.cells)
        return x, y, z

    def at(self, nodes: Int[np.ndarray, "p 3"]) -> Float[np.ndarray, " p"]:
        """Field minus level at nodes [P]; InputError if a value is not finite."""
        out = np.empty(len(nodes), dtype=np.float32)
        for start in range(0, len(nodes), self.chunk):
            interrupts.check()
            part = self.low + self.step * nodes[start : start + self.chunk]
            points = torch.as_tensor(part, dtype=torch.float32, device=self.device)
            with torch.no_grad():
                values = self.field(points).detach().float().cpu().numpy() - np.float32(self.level)
            bad = ~np.isfinite(values)
            if bad.any():
                x, y, z = part[int(np.argmax(bad))]
                raise InputError(
                    f"the field is not finite at {int(bad.sum())} of {len(values)} points, first at "
                    f"normalised ({x:.4g}, {y:.4g}, {z:.4g}): the model is broken there; extract from an "
                    "earlier checkpoint (eval.checkpoint=best) or train again with a lower learning rate"
                )
            out[start : start + self.chunk] = values
        return out


def extract(
    level_fn: Callable[[Float[Tensor, "p 3"]], Float[Tensor, " p"]],
    radius: float,
    resolution: int,
    block: int = 64,
    level: float = 0.0,
    bounds: Sequence[Sequence[float]] | None = None,
    *,
    chunk: int = 65536,
    device: torch.device | str = "cpu",
    marching_cubes: str = "skimage",
) -> Mesh:
    """The surface on which ``level_fn`` equals ``level``, in the field's coordinates; normals point to higher values.

    Args:
      level_fn: a signed distance, or any field that is lower inside. It is called without gradients, with at most
        ``chunk`` points on ``device``.
      radius: half the side of the box [-radius, radius]^3.
      resolution: cells along the longest side of the box.
      block: cells along a block, rounded up to whole tiles.
      bounds: two corners ((x, y, z), (x, y, z)) of a box to extract instead.
      marching_cubes: the package that cuts the cells, a name of ``triangulators.TRIANGULATORS``.

    Vertices on the same edge of the grid are one vertex, across blocks too. So the mesh is closed, but for places where
    the surface leaves the box. (The table of PyMCubes leaves holes in ambiguous cells.)

    Source: Lorensen and Cline 1987; the cells are those of Lewiner et al. 2003 unless another package is named.

    Raises:
        InputError: the field is not finite (the message says where), or the level set is empty (the message gives the
            field's range).
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    box = np.array([[-radius] * 3, [radius] * 3] if bounds is None else bounds, dtype=np.float64)
    side = box[1] - box[0]
    if resolution < 1 or block < 1 or not (side > 0).all():
        raise InputError(
            "marching cubes needs a resolution and a block of at least 1 cell and a box with a volume; "
            f"found resolution {resolution}, block {block}, box {box.tolist()}"
        )
    step = float(side.max()) / resolution
    nx, ny, nz = (max(1, int(np.ceil(s / step - 1e-6))) for s in side)
    grid = _Grid(
        box[0],
        step,
        (nx, ny, nz),
        float(level),
        level_fn,
        chunk,
        torch.device(device),
        triangulator(marching_cubes),
    )

    corner = _corners(grid)
    active = _may_hold_surface(corner)
    if not active.any():
        active[:] = True
    pieces = _march_blocks(grid, corner, active, max(1, -(-block // COARSE)))
    if not pieces:
        low, high = float(corner.min()) + level, float(corner.max()) + level
        raise InputError(
            f"no surface at level {level:g}: the field spans [{low:.4g}, {high:.4g}] over the box "
            f"{box[0].round(4).tolist()} to {box[1].round(4).tolist()}; set export.level inside that range, "
            "or train longer"
        )
    return _weld(grid, pieces)


def _corners(grid: _Grid) -> Float[np.ndarray, "x y z"]:
    """Field minus level at the tiles' corners; the last tile along an axis may be shorter."""
    axes = [np.minimum(np.arange(t + 1) * COARSE, n) for t, n in zip(grid.tiles, grid.cells, strict=True)]
    out = np.empty([len(a) for a in axes], dtype=np.float32)
    # slab by slab: not all nodes of a large grid need to exist at once
    for i in progress.through(range(len(axes[0])), "searching for the surface"):
        nodes = np.stack(np.meshgrid([axes[0][i]], axes[1], axes[2], indexing="ij"), axis=-1)
        out[i] = grid.at(nodes.reshape(-1, 3)).reshape(out[i].shape)
    return out


def _may_hold_surface(corner: Float[np.ndarray, "x y z"]) -> Bool[np.ndarray, "a b c"]:
    """Which tiles become active in step 1 of the module's docstring."""
    from scipy.ndimage import maximum_filter

    low, high = _of_tiles(corner, np.minimum), _of_tiles(corner, np.maximum)
    steepest = np.zeros_like(low)
    for axis in range(3):
        slope = np.abs(np.diff(corner, axis=axis))
        for other in range(3):
            if other != axis:
                slope = np.maximum(_first(slope, other), _last(slope, other))
        steepest = np.maximum(steepest, slope)
    reach = MARGIN * np.sqrt(3) / 2 * maximum_filter(steepest, size=3, mode="nearest")
    crossed = (low < 0) & (high >= 0)
    return crossed | (_of_tiles(np.abs(corner), np.minimum) < reach)


def _of_tiles(corner: np.ndarray, reduce: np.ufunc) -> np.ndarray:
    for axis in range(3):
        corner = reduce(_first(corner, axis), _last(corner, axis))
    return corner


def _first(a: np.ndarray, axis: int) -> np.ndarray:
    return np.take(a, range(a.shape[axis] - 1), axis=axis)


def _last(a: np.ndarray, axis: int) -> np.ndarray:
    return np.take(a, range(1, a.shape[axis]), axis=axis)


@dataclass(frozen=True)
class _Piece:
    """The mesh of one block: its vertices, and the edge of the grid that each lies on."""

    vertices: Float[np.ndarray, "n 3"]
    """In cells from the grid's first corner."""
    edge: Int[np.ndarray, " n"]
    """3 * (node number) + axis; -1 for a vertex inside a cell."""
    faces: Int[np.ndarray, "f 3"]


def _march_blocks(
    grid: _Grid, corner: np.ndarray, active: Bool[np.ndarray, "a b c"], size: int
) -> list[_Piece]:
    """Mesh every block that has an active tile; again, if a neighbouring block has made more of its tiles active."""
    scale = float(np.median(np.abs(corner))) or 1.0
    shape = [-(-t // size) for t in grid.tiles]
    todo = deque(
        b for b in np.ndindex(*shape) if active[tuple(slice(p * size, (p + 1) * size) for p in b)].any()
    )
    pieces: dict[Triple, _Piece | None] = {}
    while todo:
        progress.tell(Progress("extracting the mesh", len(pieces), len(pieces) + len(todo)))
        place = todo.popleft()
        values, grown = _evaluate(grid, corner, active, place, size)
        beside = {(x // size, y // size, z // size) for x, y, z in grown}
        todo.extend(sorted(beside - {place} - set(todo)))
        pieces[place] = _march(grid, np.array(place) * size * COARSE, values, scale)
    return [p for _, p in sorted(pieces.items()) if p is not None]


def _evaluate(
    grid: _Grid, corner: np.ndarray, active: Bool[np.ndarray, "a b c"], place: Triple, size: int
) -> tuple[Float[np.ndarray, "x y z"], list[list[int]]]:
    """Step 2 of the module's docstring for one block: the values at its nodes, and the tiles that it made active.

    Nodes of inactive tiles hold +1 or -1, which has the right sign, so that no edge between them is crossed. ``active``
    is updated, in this block and in its neighbours.
    """
    tiles, cells = np.array(grid.tiles), np.array(grid.cells)
    t0 = np.array(place) * size
    t1 = np.minimum(t0 + size, tiles)
    count = np.minimum(t1 * COARSE, cells) - t0 * COARSE
    e0, e1 = np.maximum(t0 - 1, 0), np.minimum(t1 + 1, tiles)
    own, around = _box(t0, t1), _box(e0, e1)
    below = corner[around] < 0
    values = np.where(_on_nodes(corner[own] < 0, count), np.float32(-1), np.float32(1))
    have = np.zeros(values.shape, dtype=bool)
    before = (t0 - e0) * COARSE
    after = (e1 - e0) * COARSE - before - count
    pad = list(zip(before.tolist(), after.tolist(), strict=True))
    grown: list[list[int]] = []
    while True:
        new = _on_nodes(active[own], count) & ~have
        if not new.any():
            return values, grown
        values[new] = grid.at(np.argwhere(new) + t0 * COARSE)
        have |= new
        other = np.where(below, _any_node(have & (values >= 0), pad), _any_node(have & (values < 0), pad))
        found = np.argwhere(other & ~active[around]) + e0
        active[tuple(found.T)] = True
        grown.extend(found.tolist())


def _box(low: np.ndarray, high: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _on_nodes(tile: Bool[np.ndarray, "a b c"], cells: np.ndarray) -> Bool[np.ndarray, "x y z"]:
    """True at the nodes of tiles that are True, borders included."""
    for axis in range(3):
        whole = np.repeat(tile, COARSE, axis=axis)
        cell = np.take(whole, range(int(cells[axis])), axis=axis)
        ends = [(0, 0)] * 3
        before, after = list(ends), list(ends)
        before[axis], after[axis] = (1, 0), (0, 1)
        tile = np.pad(cell, before) | np.pad(cell, after)
    return tile


def _any_node(node: Bool[np.ndarray, "x y z"], pad: list[tuple[int, int]]) -> Bool[np.ndarray, "a b c"]:
    """True for tiles that have a True node, borders included; the inverse of ``_on_nodes``."""
    out = np.pad(node, pad)
    for axis in range(3):
        tiles = (out.shape[axis] - 1) // COARSE
        out = np.logical_or.reduce(
            [np.take(out, np.arange(tiles) * COARSE + o, axis=axis) for o in range(COARSE + 1)]
        )
    return out


def _march(grid: _Grid, first: np.ndarray, values: Float[np.ndarray, "x y z"], scale: float) -> _Piece | None:
    """Marching cubes of one block whose first node is ``first``; None if it has no surface."""
    below = values < 0
    if below.all() or not below.any():
        return None
    # the packages give positions, not edges. Squashed values keep every vertex 4% away from the nodes, so that its
    # edge can be found; its true position is interpolated below. The squash is monotone and the same in every block,
    # so both sides of a face cut it in the same way.
    size = np.abs(values) / scale
    squashed = np.where(below, -1, 1) * (0.05 + 0.95 * size / (1 + size))
    found, faces = grid.triangulate(squashed.astype(np.float32))
    node = np.round(found)
    away = np.abs(found - node) > 0.01
    axis = away.argmax(axis=1)
    rows = np.flatnonzero(away.sum(axis=1) == 1)
    base = node.astype(np.int64)
    base[rows, axis[rows]] = np.floor(found[rows, axis[rows]]).astype(np.int64)
    tip = base.copy()
    tip[np.arange(len(tip)), axis] += 1

    vertices = found.astype(np.float64)
    start, end = (values[tuple(n[rows].T)].astype(np.float64) for n in (base, tip))
    along = np.clip(start / (start - end), _NEAREST, 1 - _NEAREST)
    vertices[rows] = base[rows]
    vertices[rows, axis[rows]] += along
    edge = np.full(len(found), -1, dtype=np.int64)
    stride = np.array([(grid.cells[1] + 1) * (grid.cells[2] + 1), grid.cells[2] + 1, 1])
    edge[rows] = 3 * ((base[rows] + first) @ stride) + axis[rows]
    return _Piece(vertices + first, edge, faces.astype(np.int64))


def _weld(grid: _Grid, pieces: list[_Piece]) -> Mesh:
    """Join the pieces to one mesh in the field's coordinates; vertices on the same edge of the grid become one."""
    vertices = np.concatenate([p.vertices for p in pieces])
    shift = np.cumsum([0] + [len(p.vertices) for p in pieces[:-1]])
    faces = np.concatenate([p.faces + s for p, s in zip(pieces, shift, strict=True)])
    edge = np.concatenate([p.edge for p in pieces])
    inner = edge < 0
    edge[inner] = -1 - np.arange(int(inner.sum()))  # a vertex inside a cell is in one block only
    _, kept, back = np.unique(edge, return_index=True, return_inverse=True)
    return Mesh(grid.low + grid.step * vertices[kept], back.reshape(-1)[faces])
