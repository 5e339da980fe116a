"""A stand-in for the official DTU data and a scene in NeuS' layout, with a mesh whose scores are known by counting.

The mesh is flat, z = 0 mm, and made of zones along x; the scan lies ``depth`` mm below each zone. Zones are more
than 20 mm apart, so a point's distance is its zone's depth, and a score is a sum over zones of points times depth.
Rows are 0.3 mm apart. The columns of a zone decide how many points are left of it:
  'grid'   0.3 mm apart: no triangle is large enough for a sample, no two points within 0.2 mm;
  'burr'   ten columns within 0.09 mm, clusters 0.3 mm apart: thinning leaves one point of ten;
  'triple' 0.15 mm, 0.15 mm, 0.3 mm: of a, b, c thinning leaves b, or a and c, 5/3 in the mean of random orders
           and 1 in the file's, where b comes first;
  'wide'   0.59 mm apart: one sample a triangle, 0.21 mm or more from all other points.
Zones are joined along their first row by triangles without area. Pixels are 1 mm wide, masks 640x480: two fifths
of full size, so that the presets reach 20 (neus), 5 (monosdf), 10 (2dgs) and 10 px (neuralwarp).
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from scipy.io import savemat

from isosweep.types import Mesh

SCAN = 24
ROWS, PITCH = 41, 0.3
PRESETS = ("none", "neus", "monosdf", "2dgs", "neuralwarp")
ALL = frozenset(PRESETS)
BOX = np.array([[0.0, -20.0, -40.0], [560.0, 40.0, 40.0]])
RESOLUTION = 2.0
PLANE = np.array([0.0, 0.0, 2.0, 35.0])
"""z = -17.5 mm."""
TO_WORLD = np.array([[300.0, 0, 0, 200], [0, 300, 0, 5], [0, 0, 300, -10], [0, 0, 0, 1]])
SIZE = (640, 480)
CAMERAS_X = (180.0, 180.0, 240.0)
"""x of the cameras, 1 m above the mesh: the third alone sees beyond 500 mm."""
MASK = ((-100, 276), (303.1, 310), (338.1, 345), (405.6, 412), (480, 495), (520, 560))
"""Intervals of x on the masks, with -10 < y < 22."""
UNOBSERVED = (210.0, 236.0)


@dataclass(frozen=True)
class Zone:
    name: str
    x: float
    depth: float | None
    """mm; None: no scan below."""
    kind: str = "grid"
    cells: int = 40
    kept_by: frozenset[str] = ALL
    in_box: bool = True
    observed: bool = True
    above: bool = True
    """Its scan is above the plane."""
    joined: bool = True

    @property
    def columns(self) -> np.ndarray:
        cell = {
            "grid": [0.0],
            "burr": (np.arange(10) * 0.01).tolist(),
            "triple": [0.0, 0.15, 0.3],
            "wide": [0.0],
        }[self.kind]
        width = {"grid": 0.3, "burr": 0.39, "triple": 0.6, "wide": 0.59}[self.kind]
        return self.x + np.concatenate([np.add(cell, i * width) for i in range(self.cells)])

    @property
    def points(self) -> float:
        """Points that are left of the mesh."""
        samples = 2 * (self.cells - 1) * (ROWS - 1) if self.kind == "wide" else 0
        return self.cells * ROWS * (5 / 3 if self.kind == "triple" else 1) + samples

    def scan(self) -> np.ndarray:
        if self.depth is None:
            return np.zeros((0, 3))
        columns = self.columns[:: {"burr": 10, "triple": 3}.get(self.kind, 1)]
        x, y = np.meshgrid(columns, np.arange(ROWS) * PITCH)
        at = [np.stack([x.ravel(), y.ravel()], axis=1)]
        if self.kind == "wide":
            for step in (0.25 * 0.59, 0.75 * 0.59):
                sx, sy = np.meshgrid(columns[:-1] + step, (np.arange(ROWS - 1) + 0.5) * PITCH)
                at.append(np.stack([sx.ravel(), sy.ravel()], axis=1))
        flat = np.concatenate(at)
        return np.column_stack([flat, np.full(len(flat), -self.depth)])


ZONES = (
    Zone("beyond the box", -90, 0.5, cells=80, in_box=False, observed=False),
    Zone("outside the grid", -40, 15.0, cells=60, observed=False),
    Zone("main", 0, 2.0),
    Zone("burr", 36, 0.5, kind="burr", cells=70),
    Zone("triple", 86, 15.5, kind="triple", cells=100),
    Zone("wide", 168, 1.0, kind="wide"),
    Zone("unobserved", 214, 15.0, cells=60, observed=False),
    Zone("below the plane", 256, 19.5, cells=60, above=False),
    Zone("2.5 px outside", 300, 10.0, cells=3),
    Zone("7.5 px outside", 330, 11.0, cells=3, kept_by=ALL - {"monosdf"}),
    Zone("15 px outside", 390, 12.0, cells=3, kept_by=frozenset({"none", "neus"})),
    Zone("in one view", 530, 14.5, cells=3, kept_by=ALL - {"neuralwarp"}),
    Zone("33 px outside", 445, 17.0, cells=34, kept_by=frozenset({"none"})),
    Zone("detached", 485, 9.0, cells=10, kept_by=frozenset({"none", "monosdf", "2dgs"}), joined=False),
    Zone("beyond 20 mm", 545, None, cells=20, kept_by=ALL - {"neus", "neuralwarp"}, joined=False),
)


@dataclass(frozen=True)
class StandIn:
    root: Path
    """Official data."""
    scene: Path
    """Images, masks and cameras."""
    mesh: Path
    """In normalised units."""
    zones: tuple[Zone, ...] = field(default=ZONES)

    def expected(self, preset: str) -> dict[str, float]:
        left = [z for z in self.zones if preset in z.kept_by and z.in_box and z.depth is not None]
        near = [(z.points, z.depth) for z in left if z.observed]
        back = [(len(z.scan()), z.depth) for z in left if z.above]
        accuracy, completeness = (
            sum(n * d for n, d in part) / sum(n for n, _ in part) for part in (near, back)
        )
        return {
            "geometry/accuracy": accuracy,
            "geometry/completeness": completeness,
            "geometry/chamfer": (accuracy + completeness) / 2,
        }


def known_mesh() -> Mesh:
    """All zones in mm. Vertices 'b' of the triples come first in the file."""
    vertices: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    before: tuple[int, int] | None = None
    count = 0
    late: list[np.ndarray] = []
    for zone in ZONES:
        columns = zone.columns
        n = len(columns)
        x, y = np.meshgrid(columns, np.arange(ROWS) * PITCH)
        vertices.append(np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]))
        late.append(~np.tile((np.arange(n) % 3 == 1) & (zone.kind == "triple"), ROWS))
        i = count + np.arange(ROWS * n).reshape(ROWS, n)
        a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
        faces += [np.stack([a, b, d], axis=1), np.stack([c, d, b], axis=1)]
        if zone.joined:
            if before is not None:
                faces.append(np.array([[*before, count], [before[1], count, count + 1]]))
            before = (count + n - 2, count + n - 1)
        count += ROWS * n
    order = np.argsort(np.concatenate(late), kind="stable")
    return Mesh(np.concatenate(vertices)[order], np.argsort(order)[np.concatenate(faces)])


def write_ply(path: Path, mesh: Mesh) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if len(mesh.faces):
        trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(path)
    else:
        trimesh.PointCloud(mesh.vertices).export(path)
    return path


def normalised(mesh: Mesh) -> Mesh:
    return Mesh((mesh.vertices - TO_WORLD[:3, 3]) / TO_WORLD[0, 0], mesh.faces)


def write_official(root: Path, scan: int = SCAN) -> Path:
    """Points/stl/stl<nnn>_total.ply, ObsMask/ObsMask<n>_10.mat and ObsMask/Plane<n>.mat."""
    no_mesh = np.column_stack([*(g.ravel() for g in np.mgrid[100:112:0.6, 60:72:0.6]), np.zeros(400)])
    points = np.concatenate([*(zone.scan() for zone in ZONES), no_mesh])
    write_ply(root / "Points" / "stl" / f"stl{scan:03d}_total.ply", Mesh(points, np.zeros((0, 3), np.int64)))
    shape = ((BOX[1] - BOX[0]) / RESOLUTION).astype(int) + 1
    mask = np.ones(shape, dtype=np.uint8)
    x = BOX[0, 0] + RESOLUTION * np.arange(shape[0])
    mask[(x >= UNOBSERVED[0]) & (x <= UNOBSERVED[1])] = 0
    folder = root / "ObsMask"
    folder.mkdir(parents=True)
    contents = {"ObsMask": mask, "BB": BOX, "Res": np.array([[RESOLUTION]])}
    savemat(folder / f"ObsMask{scan}_10.mat", contents, do_compression=True)
    savemat(folder / f"Plane{scan}.mat", {"P": PLANE[:, None]})
    return root


def write_scene(folder: Path) -> Path:
    """image/, mask/ and cameras_sphere.npz of three cameras that look down."""
    (folder / "image").mkdir(parents=True)
    (folder / "mask").mkdir()
    width, height = SIZE
    matrices = {}
    for i, camera_x in enumerate(CAMERAS_X):
        x = camera_x + np.arange(width) - (width - 1) / 2
        y = 5 - (np.arange(height) - (height - 1) / 2)
        on = np.any([(x >= low) & (x <= high) for low, high in MASK], axis=0)
        mask = (on & ((y > -10) & (y < 22))[:, None]).astype(np.uint8) * 255
        Image.fromarray(mask).save(folder / "mask" / f"{i:03d}.png")
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(folder / "image" / f"{i:03d}.png")
        K = np.array([[1000.0, 0, (width - 1) / 2], [0, 1000, (height - 1) / 2], [0, 0, 1]])
        turn = np.diag([1.0, -1.0, -1.0])
        matrix = np.eye(4)
        matrix[:3] = K @ np.column_stack([turn, -turn @ [camera_x, 5.0, 1000.0]])
        matrices |= {f"world_mat_{i}": matrix, f"scale_mat_{i}": TO_WORLD}
    np.savez(folder / "cameras_sphere.npz", **matrices)
    return folder


def write_stand_in(folder: Path) -> StandIn:
    mesh = write_ply(folder / "mesh.ply", normalised(known_mesh()))
    return StandIn(write_official(folder / "DTU"), write_scene(folder / "dtu_scan24"), mesh)
