"""The DTU protocol on the stand-in for the official data, where every score is known by counting."""

import itertools
import subprocess
import sys
import textwrap
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from isosweep.evaluation import dtu
from isosweep.evaluation.dtu import DtuSettings, Steps
from isosweep.meshes.files import read_mesh
from isosweep.types import Mesh
from tests.support import dtu_official
from tests.support.dtu_official import PRESETS, SCAN, StandIn

CHAMFER = "geometry/chamfer"


class Loaded:
    """The stand-in, read once."""

    def __init__(self, files: StandIn) -> None:
        self.files = files
        self.official = dtu.read_official(files.root, SCAN)
        self.seen, self.to_world = dtu.read_masks(files.scene, SCAN)
        self.mesh = read_mesh(files.mesh, faces=True)

    def score(self, mesh: Mesh | None = None, **settings: object) -> dict[str, float | None]:
        how = DtuSettings(**settings)  # type: ignore[arg-type]
        return dtu.dtu_scores(mesh or self.mesh, self.official, how, self.seen, self.to_world)[0]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return Loaded(dtu_official.write_stand_in(tmp_path_factory.mktemp("dtu")))


@pytest.fixture(scope="module")
def whole(known: Loaded) -> dict[str, dict[str, float | None]]:
    """The scores of all steps, by preset."""
    return {preset: known.score(cull=preset) for preset in PRESETS}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_scores_are_those_known_by_construction(
    known: Loaded, whole: dict[str, dict[str, float | None]], preset: str
) -> None:
    expected = known.files.expected(preset)
    assert whole[preset].keys() == expected.keys()
    for name, value in expected.items():
        assert whole[preset][name] == pytest.approx(value, rel=0.01), name


def test_each_preset_has_its_own_number(known: Loaded) -> None:
    """Otherwise the test above could not tell them apart."""
    numbers = sorted(known.files.expected(preset)[CHAMFER] for preset in PRESETS)
    assert min(b / a - 1 for a, b in itertools.pairwise(numbers)) > 5e-4
    kept = {preset: {z.name for z in known.files.zones if preset in z.kept_by} for preset in PRESETS}
    assert len({frozenset(names) for names in kept.values()}) == len(PRESETS)


@pytest.mark.parametrize(
    ("preset", "step"),
    [(p, f.name) for p in ("none", "neus") for f in fields(Steps) if (p, f.name) != ("none", "cull")]
    + [(p, "cull") for p in ("monosdf", "2dgs", "neuralwarp")],
)
def test_leaving_out_any_step_moves_the_result(
    known: Loaded, whole: dict[str, dict[str, float | None]], preset: str, step: str
) -> None:
    value = known.score(cull=preset, steps=Steps(**{step: False}))[CHAMFER]
    assert value is not None
    assert abs(value / whole[preset][CHAMFER] - 1) > 0.05


def test_a_step_left_out_is_named_in_the_record_and_a_score_names_none() -> None:
    assert "steps_left_out" not in dtu.describe(DtuSettings("neus"))
    notes = dtu.describe(DtuSettings("neus", seed=3, steps=Steps(cap=False)))
    assert notes["steps_left_out"] == ["cap"]
    assert (notes["cull"], notes["seed"], notes["world_unit"]) == ("neus", 3, "mm")


@pytest.mark.parametrize("preset", ["none", "neus"])
def test_shuffled_vertices_and_faces_score_alike(
    known: Loaded, whole: dict[str, dict[str, float | None]], preset: str
) -> None:
    rng = np.random.default_rng(1)
    mesh = known.mesh
    order, faces = rng.permutation(len(mesh.vertices)), rng.permutation(mesh.faces)
    turned = Mesh(mesh.vertices[order], np.argsort(order)[faces])
    for name, value in known.score(turned, cull=preset).items():
        assert value == pytest.approx(whole[preset][name], rel=1e-3)


def test_the_seed_decides_the_order_of_points(
    known: Loaded, whole: dict[str, dict[str, float | None]]
) -> None:
    again, other = known.score(cull="neus"), known.score(cull="neus", seed=1)
    assert again == whole["neus"]
    assert other != again
    assert other[CHAMFER] == pytest.approx(again[CHAMFER], rel=0.01)


def test_a_mesh_in_mm_needs_no_transform(
    known: Loaded, whole: dict[str, dict[str, float | None]], tmp_path: Path
) -> None:
    path = dtu_official.write_ply(tmp_path / "mm.ply", dtu_official.known_mesh())
    values = dtu.dtu_scores(read_mesh(path), known.official, DtuSettings("2dgs"), known.seen)[0]
    assert values[CHAMFER] == pytest.approx(whole["2dgs"][CHAMFER], rel=2e-3)


def test_the_public_scripts_arithmetic_in_plain_loops(known: Loaded) -> None:
    """A second implementation of the protocol, slow and short, on a crumpled sheet with triangles of all sizes."""
    from scipy.spatial import KDTree, distance

    rng = np.random.default_rng(5)
    x, y = np.meshgrid(np.sort(rng.uniform(0, 7, 22)), np.sort(rng.uniform(-1, 6, 20)))
    vertices = np.column_stack([x.ravel(), y.ravel(), rng.normal(0, 0.2, x.size)])
    i = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
    mesh = Mesh(vertices, np.concatenate([np.stack([a, b, d], axis=1), np.stack([c, d, b], axis=1)]))
    scan = np.column_stack([*(rng.uniform(0, 7, (2, 3000))), rng.normal(0, 0.3, 3000)])
    mask = rng.random((6, 6, 6)) < 0.7
    official = dtu.Official(
        SCAN, scan, mask, np.array([[0.5, 0, -2], [5, 5, 2]]), 1.0, np.array([0.1, 0, 1, 0.05])
    )
    got = dtu.dtu_scores(mesh, official, DtuSettings(patch=1.0, max_distance=0.6))[0]

    points = list(vertices)
    for face in mesh.faces:
        p, q, r = vertices[face]
        area2 = np.linalg.norm(np.cross(q - p, r - p))
        l1, l2 = np.linalg.norm(q - p), np.linalg.norm(r - p)
        n1, n2 = (int(length // (0.2 * np.sqrt(l1 * l2 / area2))) for length in (l1, l2))
        for u in range(n1):
            for v in range(n2):
                s, t = (u + 0.5) / n1, (v + 0.5) / n2
                if s + t < 1:
                    points.append(p + s * (q - p) + t * (r - p))
    cloud = np.array(points)
    cloud = rng.permutation(cloud)
    alive = np.ones(len(cloud), dtype=bool)
    near = distance.cdist(cloud, cloud) <= 0.2
    for k in range(len(cloud)):
        if alive[k]:
            alive[near[k]] = False
            alive[k] = True
    cloud = cloud[alive]
    cloud = cloud[((cloud >= official.box[0] - 1) & (cloud < official.box[1] + 2)).all(axis=1)]
    voxel = np.around(cloud - official.box[0]).astype(int)
    observed = [
        bool((v >= 0).all() and (v < 6).all() and mask[tuple(v)]) if (v >= 0).all() else False for v in voxel
    ]
    d2s = KDTree(scan).query(cloud[observed])[0]
    s2d = KDTree(cloud).query(scan[scan @ official.plane[:3] + official.plane[3] > 0])[0]
    accuracy, completeness = d2s[d2s < 0.6].mean(), s2d[s2d < 0.6].mean()
    # another random order thins otherwise: a few per cent of a few thousand points
    assert got["geometry/accuracy"] == pytest.approx(accuracy, rel=0.03)
    assert got["geometry/completeness"] == pytest.approx(completeness, rel=0.03)


def test_no_score_has_a_reason_that_helps(known: Loaded) -> None:
    away = replace(known.mesh, vertices=known.mesh.vertices + 50)
    values, reasons, notes = dtu.dtu_scores(away, known.official, DtuSettings(), None, known.to_world)
    assert set(values.values()) == {None}
    assert "no point in the box" in reasons[CHAMFER]
    assert "--transform" in reasons[CHAMFER]
    world = away.vertices @ known.to_world[:3, :3].T + known.to_world[:3, 3]
    low, high = world.min(0).round(2).tolist(), world.max(0).round(2).tolist()
    assert f"it reaches from {low} to {high}" in reasons[CHAMFER]
    assert (notes["points_in_box"], notes["cull_views"]) == (0, 0)
    empty = Mesh(known.mesh.vertices, np.zeros((0, 3), dtype=np.int64))
    assert dtu.dtu_scores(empty, known.official, DtuSettings())[1][CHAMFER] == "the mesh has no face"
    # normalised units taken for mm: in the box, but beside all that is observed
    low = replace(known.mesh, vertices=known.mesh.vertices - [0, 0, 55])
    reasons = dtu.dtu_scores(low, known.official, DtuSettings())[1]
    assert "no point in ObsMask" in reasons[CHAMFER]
    dark = replace(known.seen, masks=[np.zeros_like(m) for m in known.seen.masks])
    reasons = dtu.dtu_scores(known.mesh, known.official, DtuSettings("neus"), dark, known.to_world)[1]
    assert "the preset neus leaves none" in reasons[CHAMFER]
    far = replace(known.official, points=known.official.points - [0, 0, 500])
    values, reasons, _ = dtu.dtu_scores(known.mesh, far, DtuSettings(), None, known.to_world)
    assert values["geometry/accuracy"] is None
    assert "no point of the mesh is within 20 mm" in reasons[CHAMFER]
    with pytest.raises(ValueError, match="preset 'neus' needs the object's masks, and there are none"):
        dtu.dtu_scores(known.mesh, known.official, DtuSettings("neus"), None, known.to_world)
    with pytest.raises(ValueError, match="preset 'neuss' is none of none, neus, monosdf, 2dgs, neuralwarp"):
        known.score(cull="neuss")


@pytest.mark.parametrize("below", dtu.BELOW[1:])
def test_the_archives_own_folders_are_found(known: Loaded, tmp_path: Path, below: str) -> None:
    """Points.zip and SampleSet.zip need not be merged into one folder."""
    (tmp_path / below).mkdir(parents=True)
    (tmp_path / "Points").symlink_to(known.files.root / "Points")
    (tmp_path / below / "ObsMask").symlink_to(known.files.root / "ObsMask")
    assert len(dtu.read_official(tmp_path, SCAN).points) == len(known.official.points)


def test_missing_and_broken_official_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no Points/stl/stl024_total\.ply .*does not exist.*Points\.zip"
    ):
        dtu.read_official(tmp_path / "gone", SCAN)
    root = dtu_official.write_official(tmp_path / "DTU")
    with pytest.raises(FileNotFoundError, match=r"stl037_total\.ply.*holds ObsMask, Points"):
        dtu.read_official(root, 37)
    plane = root / "ObsMask" / f"Plane{SCAN}.mat"
    for contents, why in (
        ({"Q": np.ones(4)}, "has no variable P, it has Q"),
        ({"P": np.ones(3)}, "expected 4 finite numbers"),
        ({"P": np.array([1, np.nan, 0, 0])}, "expected 4 finite numbers"),
    ):
        savemat(plane, contents)
        with pytest.raises(ValueError, match=why):
            dtu.read_official(root, SCAN)
    plane.write_bytes(b"no mat file at all, but long enough to have a header" * 8)
    with pytest.raises(ValueError, match=r"cannot read .*Plane24\.mat.*Copy the file again"):
        dtu.read_official(root, SCAN)
    savemat(
        root / "ObsMask" / f"ObsMask{SCAN}_10.mat",
        {"ObsMask": np.ones((3, 3)), "BB": np.ones((2, 3)), "Res": 1},
    )
    with pytest.raises(ValueError, match="expected a grid of three axes"):
        dtu.read_official(root, SCAN)


def test_masks_have_to_be_there_and_to_fit(tmp_path: Path) -> None:
    from PIL import Image

    scene = dtu_official.write_scene(tmp_path / "scene")
    Image.new("L", (100, 80)).save(scene / "mask" / "001.png")
    with pytest.raises(ValueError, match=r"001\.png is 100x80, its image is 640x480"):
        dtu.read_masks(scene, SCAN)
    for file in (scene / "mask").iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"presets need the object's masks"):
        dtu.read_masks(scene, SCAN)


@pytest.mark.parametrize(("name", "scan"), [("scan24", 24), ("dtu_scan105", 105), ("24", 24)])
def test_scan_numbers(name: str, scan: int) -> None:
    assert dtu.scan_number(name) == scan
    assert len(dtu.culling_views(scan, 200)) == (49 if scan == 24 else 64)
    assert [len(dtu.culling_views(one, 200)) for one in (82, 83)] == [49, 64]


def test_names_of_protocols() -> None:
    assert [dtu.preset_of(f"dtu-{p}") for p in PRESETS] == list(PRESETS)
    assert dtu.preset_of("standard") is None
    with pytest.raises(ValueError, match="'unisurf' is none of"):
        dtu.preset_of("dtu-unisurf")
    with pytest.raises(ValueError, match="'scan' does not end in the number"):
        dtu.scan_number("scan")


def test_memory_grows_with_the_surface_and_not_with_pairs_of_points() -> None:
    """A million faces, some of them stacked forty deep: peak memory of a process of its own, above its start."""
    code = """
        import resource, numpy as np
        from isosweep.evaluation import dtu
        from isosweep.types import Mesh
        import scipy.io, scipy.spatial
        n = 708
        x, y = np.meshgrid(np.linspace(0, 140, n), np.linspace(0, 140, n))
        z = 5 * np.sin(x / 9) * np.cos(y / 7)
        dense = (x < 20) & (y < 20)
        x, y = np.where(dense, x / 40, x), np.where(dense, y / 40, y)
        i = np.arange(n * n).reshape(n, n)
        a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
        faces = np.concatenate([np.stack([a, b, d], 1), np.stack([c, d, b], 1)])
        mesh = Mesh(np.column_stack([x.ravel(), y.ravel(), z.ravel()]), faces)
        scan = mesh.vertices[::3] + [0, 0, 1.0]
        official = dtu.Official(24, scan, np.ones((160, 160, 40), bool),
                                np.array([[0, 0, -20], [160, 160, 20.]]), 1.0, np.array([0, 0, 1.0, 50]))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        values = dtu.dtu_scores(mesh, official, dtu.DtuSettings())[0]
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, values["geometry/chamfer"])
    """
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(out[0]) < 700, f"{out[0]} MB above the start"
    assert 0.3 < float(out[1]) < 1.2


def test_points_up_to_the_margin_around_the_box_count(known: Loaded) -> None:
    """DTUeval-python: from 60 mm below the box to 120 mm above it."""
    settings = DtuSettings(patch=60.0)
    low, high = known.official.box

    def counted(corner: np.ndarray, sign: int, beyond: float) -> int:
        mesh = Mesh(
            corner + sign * beyond * np.eye(3)[[0, 0, 0]] + np.array([[0, 0, 0], [0, 0.1, 0], [0, 0, 0.1]]),
            np.array([[0, 1, 2]]),
        )
        return len(dtu.surface_points(mesh, known.official, settings))

    assert counted(high - [0, 1, 1], 1, 115.0) > 0
    assert counted(high - [0, 1, 1], 1, 125.0) == 0
    assert counted(low + np.array([0, 1, 1]), -1, 55.0) > 0
    assert counted(low + np.array([0, 1, 1]), -1, 65.0) == 0


def test_one_mean_without_the_other_is_no_chamfer_distance(known: Loaded) -> None:
    """Nothing of the scan lies above this plane, so completeness has no points."""
    under = replace(known.official, plane=np.array([0.0, 0.0, 0.0, -1.0]))
    values, reasons, _ = dtu.dtu_scores(known.mesh, under, DtuSettings(), None, known.to_world)
    assert values["geometry/accuracy"] is not None
    assert (values["geometry/completeness"], values[CHAMFER]) == (None, None)
    assert reasons[CHAMFER]
