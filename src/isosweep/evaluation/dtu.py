"""The DTU evaluation (Jensen et al. 2014, Aanaes et al. 2016), in the steps of DTUeval-python.

Papers on surface reconstruction report the numbers of that script. Lengths are millimetres of the scan.
Axes: N points of the prediction, P points of the laser scan. d2s is the distance from prediction to scan (accuracy),
s2d from scan to prediction (completeness). ObsMask marks the voxels that the structured light could observe, and BB is
the box of these voxels.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from isosweep import geometry
from isosweep.data.decode import read_mask
from isosweep.data.neus import read_cameras
from isosweep.errors import InputError
from isosweep.evaluation import dtu_culling, dtu_sampling
from isosweep.evaluation.surface_metrics import Observers
from isosweep.meshes.files import read_mesh
from isosweep.meshes.raycast import world_cameras
from isosweep.types import Mesh

NAMES = ("geometry/accuracy", "geometry/completeness", "geometry/chamfer")
PROTOCOL = "dtu-"
"""A protocol's name is this, followed by the culling preset: dtu-neus."""
BELOW = ("", "SampleSet/MVS Data", "MVS Data", "SampleSet/MVS_Data")
"""Folders below the given one in which Points/ and ObsMask/ are sought: the official archives differ in this."""
MOST_CELLS = 2**31
"""Of a variable of a .mat; the official grids have a tenth of it."""
MARGIN = 50
"""Points up to this many thinning radii outside the box take part in thinning.

Whether a point is kept depends on its neighbours, and theirs on their neighbours; in a random order these chains are
much shorter than this."""
MOST_POINTS = 60_000_000
"""A surface that needs more points than this in the box is refused."""


@dataclass(frozen=True)
class Steps:
    """The steps of the protocol. All are on in every score; a test leaves each one out and measures its effect."""

    world: bool = True
    """1. vertices times scale_mat: millimetres."""
    cull: bool = True
    """2. surface outside the masks removed, by the named preset."""
    sample: bool = True
    """3. points on the triangles beside the vertices."""
    shuffle: bool = True
    """4a. a random order."""
    thin: bool = True
    """4b. no two points within the radius."""
    box: bool = True
    """5. BB[0] - patch <= x < BB[1] + 2 patch."""
    observed: bool = True
    """6. d2s: only points in ObsMask."""
    plane: bool = True
    """7a. s2d: only scan points above the table."""
    unmasked: bool = True
    """7b. s2d: against points of the box whether or not ObsMask has them."""
    cap: bool = True
    """8. distances of max_distance and more do not count."""


@dataclass(frozen=True)
class DtuSettings:
    """The protocol's settings; the defaults are those of DTUeval-python. Lengths are mm."""

    cull: str = "none"
    """Name of the culling preset."""
    seed: int = 0
    """Of the order in which points are thinned."""
    pitch: float = 0.2
    """Distance of neighbouring points on a triangle."""
    radius: float = 0.2
    """Thinned points are farther apart than this."""
    patch: float = 60.0
    """By how much the box is larger than ObsMask's."""
    max_distance: float = 20.0
    """Distances of this length and more do not count."""
    steps: Steps = field(default_factory=Steps)


@dataclass(frozen=True)
class Official:
    """What the authors of the data set provide for one scan."""

    scan: int
    points: Float[np.ndarray, "p 3"]
    """The laser scan."""
    mask: Bool[np.ndarray, "x y z"]
    """ObsMask."""
    box: Float[np.ndarray, "2 3"]
    """BB: the two corners of the mask's box in mm, rounded to float32 as in the public script."""
    resolution: float
    """Res: side of a voxel in mm."""
    plane: Float[np.ndarray, "4"]
    """P: a point x is above the table where P . (x, 1) > 0."""


def preset_of(protocol: str) -> str | None:
    """The culling preset of the protocol 'dtu-<preset>'; None for any other protocol.

    Raises:
        InputError: there is no such preset.
    """
    if not protocol.startswith(PROTOCOL):
        return None
    name = protocol.removeprefix(PROTOCOL)
    dtu_culling.preset(name)
    return name


def scan_number(scene: str) -> int:
    """The number of a DTU scan: 24 for 'scan24' and for 'dtu_scan24'.

    Raises:
        InputError: the name does not end in a number.
    """
    found = re.search(r"(\d+)$", scene)
    if found is None:
        raise InputError(
            f"scene '{scene}' does not end in the number of a DTU scan, such as scan24: rename it"
        )
    return int(found[1])


def official_files(root: Path, scan: int) -> tuple[Path, Path, Path]:
    """The files of the laser scan, of ObsMask and of the plane, below ``root``.

    Raises:
        FileNotFoundError: one of them is missing; the message names it and all places where it was sought.
    """
    names = (
        f"Points/stl/stl{scan:03d}_total.ply",
        f"ObsMask/ObsMask{scan}_10.mat",
        f"ObsMask/Plane{scan}.mat",
    )
    points, mask, plane = (_find(root, name) for name in names)
    return points, mask, plane


def read_official(root: Path, scan: int) -> Official:
    """Read Points/stl/stl<nnn>_total.ply, ObsMask/ObsMask<n>_10.mat and ObsMask/Plane<n>.mat below ``root``.

    Raises:
        FileNotFoundError: one of the files is missing.
        InputError: a file cannot be read, or a .mat lacks one of its variables.
    """
    files = official_files(root, scan)
    grid = _mat(files[1], {"ObsMask": None, "BB": (2, 3), "Res": (1,)})
    if grid["ObsMask"].ndim != 3:
        raise InputError(
            f"{files[1]}: ObsMask has shape {grid['ObsMask'].shape}, expected a grid of three axes: copy the file again"
        )
    return Official(
        scan=scan,
        points=read_mesh(files[0]).vertices,
        mask=grid["ObsMask"].astype(bool),
        box=grid["BB"].astype(np.float32).astype(np.float64),
        resolution=float(grid["Res"][0]),
        plane=_mat(files[2], {"P": (4,)})["P"].astype(np.float64),
    )


def _find(root: Path, name: str) -> Path:
    sought = [root / below / name for below in BELOW]
    for path in sought:
        if path.is_file():
            return path
    there = ", ".join(sorted(p.name for p in root.iterdir())[:8]) if root.is_dir() else ""
    raise FileNotFoundError(
        f"no {name} of the official DTU evaluation data; sought {', '.join(map(str, sought))}; {root} "
        + (f"holds {there or 'nothing'}" if root.is_dir() else "does not exist")
        + ". SampleSet.zip has ObsMask/, Points.zip has Points/stl/ (docs/evaluation.md); give the folder of both, or "
        "download it: python scripts/data.py get dtu-official"
    )


def _mat(path: Path, wanted: dict[str, tuple[int, ...] | None]) -> dict[str, np.ndarray]:
    from scipy.io import loadmat, whosmat

    try:
        there = {name: (shape, kind) for name, shape, kind in whosmat(path)}
        large = [
            name for name in wanted if name in there and np.prod(there[name][0], dtype=float) > MOST_CELLS
        ]
        if large:
            raise InputError(f"{large[0]} has the shape {there[large[0]][0]}")
        found: dict[str, Any] = loadmat(path, variable_names=[name for name in wanted if name in there])
    except Exception as error:  # scipy raises many types, some of which have no common base
        raise InputError(
            f"cannot read {path}: {type(error).__name__}: {error}. Copy the file again"
        ) from error
    out = {}
    for name, shape in wanted.items():
        if name not in found:
            has = ", ".join(there) or "nothing"
            raise InputError(
                f"{path} has no variable {name}, it has {has}: it is not the official file; copy it again"
            )
        value = np.asarray(found[name])
        if shape is not None:
            if value.size != np.prod(shape) or not np.isfinite(value).all():
                raise InputError(
                    f"{path}: {name} has shape {value.shape} and values {value.ravel()[:6].tolist()}, expected "
                    f"{'x'.join(map(str, shape))} finite numbers: copy the file again"
                )
            value = value.reshape(shape)
        out[name] = value
    return out


def culling_views(scan: int, count: int) -> range:
    """The indices of the views that cull: the first 49 for scans below 83, and the first 64 for the others.

    The public evaluation scripts take the same. A scene with fewer views (``count``) gives all of its views.
    """
    return range(min(count, 49 if scan < 83 else 64))


def read_masks(folder: Path, scan: int) -> tuple[Observers, Float[np.ndarray, "4 4"]]:
    """The cameras (mm) and masks that cull, of a scene in NeuS' or IDR's layout, and its scale_mat.

    Raises:
        FileNotFoundError: the scene has no masks.
        InputError: a mask and its image differ in size.
    """
    cameras, to_world, masks = read_cameras(folder)
    views = culling_views(scan, len(cameras))
    if not masks:
        raise FileNotFoundError(
            f"{folder} has no mask/ with .png: culling presets need the object's masks; add them, or take --cull none"
        )
    grounds = [read_mask(masks[view]) > 127 for view in views]
    for view, ground in zip(views, grounds, strict=True):
        if list(ground.shape) != cameras.hw[view].tolist():
            raise InputError(
                f"{masks[view]} is {ground.shape[1]}x{ground.shape[0]}, its image is "
                f"{'x'.join(map(str, cameras.hw[view].tolist()[::-1]))}: masks and images must have one size"
            )
    return Observers(world_cameras(cameras, to_world), views, grounds), to_world


def dtu_scores(
    mesh: Mesh,
    official: Official,
    settings: DtuSettings,
    observers: Observers | None = None,
    to_world: Float[np.ndarray, "4 4"] | None = None,
) -> tuple[dict[str, float | None], dict[str, str], dict[str, object]]:
    """Accuracy, completeness and Chamfer distance of a mesh, in mm, in the steps of ``Steps``.

      accuracy (d2s) = mean distance from the mesh's points in ObsMask to the scan,
      completeness (s2d) = mean distance from the scan's points above the plane to the mesh's points in the box,
      chamfer = (accuracy + completeness) / 2; distances of ``max_distance`` and more are left out of both means.
    Sources: DTUeval-python; Aanaes et al. 2016.

    Args:
        mesh: vertices in mm, or in normalised scene units with ``to_world``.
        observers: cameras (mm) and masks, for the presets that need masks.
        to_world: scale_mat, from normalised scene units to mm; None if the mesh is in mm already.

    Returns: the values by name, the reason of each None, and the settings that make the numbers comparable.

    Raises:
        InputError: the preset needs masks and there are none, or the surface is too large to sample at the pitch.
    """
    steps = settings.steps
    if to_world is not None and steps.world:
        mesh = replace(mesh, vertices=geometry.to_world(mesh.vertices, to_world))
    left = dtu_culling.cull(mesh, settings.cull, observers) if steps.cull else mesh
    notes: dict[str, object] = describe(settings) | {
        "scan": official.scan,
        "cull_views": 0 if observers is None or settings.cull == "none" else len(observers.views),
        "faces": len(mesh.faces),
        "faces_after_culling": len(left.faces),
    }
    if len(left.faces) == 0:
        return _nothing("the mesh has no face", f"the preset {settings.cull} leaves none", mesh, notes)
    points = surface_points(left, official, settings)
    notes["points_in_box"] = len(points)
    if len(points) == 0:
        return _nothing("the mesh has no point in the box", _place(left, official), mesh, notes)
    inside = points[observed(points, official)] if steps.observed else points
    notes["points_observed"] = len(inside)
    if len(inside) == 0:
        return _nothing("the mesh has no point in ObsMask", _place(left, official), mesh, notes)

    scan = official.points
    cap = settings.max_distance if steps.cap else np.inf
    if steps.plane:
        scan = scan[scan @ official.plane[:3] + official.plane[3] > 0]
    notes["scan_points"], notes["scan_points_above"] = len(official.points), len(scan)
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    pairs = ((official.points, inside), (points if steps.unmasked else inside, scan))
    for name, what, (other, measured) in zip(NAMES, ("mesh", "scan"), pairs, strict=False):
        values[name], share = _capped_mean(other, measured, cap)
        notes[f"{what}_within_cap"] = share
        if values[name] is None:
            reasons[name] = f"no point of the {what} is within {cap:g} mm of the other surface"
    d2s, s2d = values[NAMES[0]], values[NAMES[1]]
    values[NAMES[2]] = None if d2s is None or s2d is None else (d2s + s2d) / 2
    if values[NAMES[2]] is None:
        reasons[NAMES[2]] = "; ".join(reasons.values())
    return values, reasons, notes


def describe(settings: DtuSettings) -> dict[str, object]:
    """The settings as a record stores them.

    Steps that are left out are named, so that a number without them cannot be mistaken for a score.
    """
    plain: dict[str, object] = {key: value for key, value in asdict(settings).items() if key != "steps"}
    left_out = [f.name for f in fields(settings.steps) if not getattr(settings.steps, f.name)]
    plain["world_unit"] = "mm"
    return plain | {"steps_left_out": left_out} if left_out else plain


def surface_points(mesh: Mesh, official: Official, settings: DtuSettings) -> Float[np.ndarray, "n 3"]:
    """The points [N, 3] in mm that stand for a mesh: steps 3 to 5 of ``Steps``.

    They are the vertices, and a lattice in each triangle; thinned in a seeded order; within the box.

    Raises:
        InputError: the surface needs more than ``MOST_POINTS`` points in the box.
    """
    steps = settings.steps
    low, high = official.box[0] - settings.patch, official.box[1] + 2 * settings.patch

    def within(points: np.ndarray, margin: float = 0.0) -> np.ndarray:
        if not steps.box:
            return points
        return points[((points >= low - margin) & (points < high + margin)).all(axis=1)]

    parts: list[np.ndarray] = []
    lattices = dtu_sampling.triangle_lattices(mesh, settings.pitch) if steps.sample else ()
    count = 0
    for points in itertools.chain((mesh.vertices.astype(np.float64),), lattices):
        parts.append(within(points, MARGIN * settings.radius))
        count += len(parts[-1])
        if count > MOST_POINTS:
            raise InputError(
                f"the mesh needs more than {MOST_POINTS} points at a pitch of {settings.pitch:g} mm in the box of scan "
                f"{official.scan}, {MOST_POINTS * settings.pitch**2 / 1e6:.1f} m^2 of surface: it is folded, full of "
                "fog, or in other units; clean it first, or choose a preset that culls (--cull)"
            )
    points = np.concatenate(parts)
    del parts
    if steps.thin:
        order = dtu_sampling.shuffled(points, settings.seed) if steps.shuffle else np.arange(len(points))
        points = dtu_sampling.thin(points, settings.radius, order)
    return within(points)


def observed(points: np.ndarray, official: Official) -> np.ndarray:
    """Whether each point's nearest voxel is in ObsMask; False for points outside its grid."""
    voxel = np.around((points - official.box[0]) / official.resolution)
    inside = ((voxel >= 0) & (voxel < official.mask.shape)).all(axis=1)
    x, y, z = voxel[inside].astype(np.int64).T
    inside[inside] = official.mask[x, y, z]
    return inside


def _capped_mean(of: np.ndarray, points: np.ndarray, cap: float) -> tuple[float | None, float]:
    """The mean distance of ``points`` to the nearest of ``of``, over those below ``cap``, and the share of these."""
    from scipy.spatial import KDTree

    if len(of) == 0 or len(points) == 0:
        return None, 0.0
    tree = KDTree(of, balanced_tree=False, compact_nodes=False)
    distance = dtu_sampling.nearest(tree, points, cap)
    near = distance[distance < cap]
    return (float(near.mean()), len(near) / len(points)) if len(near) else (None, 0.0)


def _place(mesh: Mesh, official: Official) -> str:
    corners: Sequence[np.ndarray] = (mesh.vertices.min(0), mesh.vertices.max(0), *official.box)
    low, high, box_low, box_high = (np.round(c, 2).tolist() for c in corners)
    return (
        f"it reaches from {low} to {high}, the box of ObsMask{official.scan} from {box_low} to {box_high}: give the "
        "mesh in world millimetres, or its scale_mat (--transform cameras_sphere.npz)"
    )


def _nothing(
    what: str, why: str, mesh: Mesh, notes: dict[str, object]
) -> tuple[dict[str, float | None], dict[str, str], dict[str, object]]:
    reason = what if len(mesh.faces) == 0 else f"{what}: {why}"
    return dict.fromkeys(NAMES), dict.fromkeys(NAMES, reason), notes
