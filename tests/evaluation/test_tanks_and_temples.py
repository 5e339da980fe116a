"""The protocol of Tanks and Temples on a corner of three walls, whose scores can be counted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from isosweep.config.settings import EvalSettings
from isosweep.errors import InputError
from isosweep.evaluation import tanks_and_temples as tnt
from isosweep.evaluation.alignment import apply, icp, similarity, thinned
from isosweep.evaluation.evaluate import require_official
from isosweep.types import Mesh
from tests.support.loading import load_scene
from tests.support.scenes import tiny_neus

TAU = 0.005
SIDE, STEP = 0.2, 0.002


def wall(axis: int, at: float = 0.0) -> np.ndarray:
    """A wall of SIDE x SIDE with a point every STEP."""
    grid = np.arange(STEP / 2, SIDE, STEP)
    a, b = (g.ravel() for g in np.meshgrid(grid, grid))
    return np.insert(np.stack([a, b], 1), axis, at, axis=1)


def corner() -> np.ndarray:
    return np.concatenate([wall(0), wall(1), wall(2)])


def moved() -> np.ndarray:
    """A similarity from the frame of the log to the scan's: scale 2, turned, shifted."""
    T = np.eye(4)
    T[:3, :3] = 2 * Rotation.from_euler("xyz", [0.3, -0.5, 1.1]).as_matrix()
    T[:3, 3] = [0.5, -1, 2]
    return T


def cloud(points: np.ndarray) -> Mesh:
    return Mesh(points.astype(np.float32), np.zeros((0, 3), np.int64))


def official_at(folder: Path, points: np.ndarray, T: np.ndarray, cameras: np.ndarray | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    trimesh.PointCloud(points).export(folder / "Truck.ply")
    np.savetxt(folder / "Truck_trans.txt", T)
    corners = [[-0.1, 9, -0.1], [0.3, 9, -0.1], [0.3, 9, 0.3], [-0.1, 9, 0.3]]
    meta = {"orthogonal_axis": "Y", "axis_min": -0.1, "axis_max": 0.3, "bounding_polygon": corners}
    (folder / "Truck.json").write_text(json.dumps(meta))
    if cameras is not None:
        blocks = [
            f"{i} {i} 0\n1 0 0 {c[0]}\n0 1 0 {c[1]}\n0 0 1 {c[2]}\n0 0 0 1" for i, c in enumerate(cameras)
        ]
        (folder / "Truck_COLMAP_SfM.log").write_text("\n".join(blocks))
    return folder


def test_a_perfect_surface_in_another_frame(tmp_path: Path) -> None:
    T = moved()
    official = tnt.read_official(official_at(tmp_path, corner(), T), "truck")
    assert official.tau == TAU
    start, notes = tnt.first_alignment(official, ["a"], np.zeros((1, 3)))
    assert notes == {"alignment": "trans"}
    values, reasons, notes = tnt.scores(cloud(apply(np.linalg.inv(T), corner())), official, start)
    assert values == dict.fromkeys(tnt.NAMES, 1.0)
    assert reasons == {}
    assert notes["tau"] == TAU


def test_precision_and_recall_are_counted(tmp_path: Path) -> None:
    """Two of three walls, and one sheet 4 tau before the first: both have about the same number of points."""
    official = tnt.read_official(official_at(tmp_path, corner(), np.eye(4)), "Truck")
    surface = np.concatenate([wall(0), wall(1), wall(0, at=0.1)])
    values, _, _ = tnt.scores(cloud(surface), official, np.eye(4), refine=False)
    precision, recall, fscore = (values[name] for name in tnt.NAMES)
    assert precision == pytest.approx(2 / 3, abs=0.04)  # the sheet touches the other walls along their edges
    assert recall == pytest.approx(2 / 3, abs=0.03)
    assert fscore == pytest.approx(2 * precision * recall / (precision + recall))


def test_what_lies_outside_the_volume_does_not_count(tmp_path: Path) -> None:
    official = tnt.read_official(official_at(tmp_path, corner(), np.eye(4)), "Truck")
    surface = np.concatenate([corner(), wall(0, at=0.31), wall(1, at=-0.11), wall(2, at=5.0)])
    values, _, _ = tnt.scores(cloud(surface), official, np.eye(4), refine=False)
    assert values["geometry/precision"] == 1.0
    values, reasons, _ = tnt.scores(cloud(corner() + 10), official, np.eye(4))
    assert values == dict.fromkeys(tnt.NAMES)
    assert reasons["geometry/fscore"] == "the mesh has no point in the authors' volume"


def test_icp_repairs_what_the_alignment_left(tmp_path: Path) -> None:
    official = tnt.read_official(official_at(tmp_path, corner(), np.eye(4)), "Truck")
    off = np.eye(4)
    off[:3, :3] = 1.01 * Rotation.from_euler("z", 1, degrees=True).as_matrix()
    off[:3, 3] = 2 * TAU
    rough, _, _ = tnt.scores(cloud(corner()), official, off, refine=False)
    fine, _, _ = tnt.scores(cloud(corner()), official, off)
    assert (rough["geometry/fscore"] or 0) < 0.5
    assert (fine["geometry/fscore"] or 0) > 0.99


def test_the_cameras_of_another_reconstruction_are_aligned(tmp_path: Path) -> None:
    cameras = np.random.default_rng(0).normal(size=(12, 3))
    T, own = moved(), np.linalg.inv(moved())
    own[:3, 3] += 0.3
    official = tnt.read_official(official_at(tmp_path, corner(), T, cameras), "Truck")
    order = [7, 2, 9, 0, 5]
    names = [f"images/{i + 1:06d}.jpg" for i in order]
    centres = apply(np.linalg.inv(own), cameras[order])
    start, notes = tnt.first_alignment(official, names, centres)
    np.testing.assert_allclose(start, T @ own, atol=1e-9)
    assert notes["alignment"] == "cameras and trans"
    with pytest.raises(InputError, match="do not fit to the log of Truck"):
        tnt.first_alignment(official, names, cameras[[1, 3, 8, 11, 4]])
    with pytest.raises(InputError, match=r"the views \(left, right .*have no numbers of the 12 cameras"):
        tnt.first_alignment(official, ["left", "right"], centres[:2])


def test_a_similarity_in_closed_form() -> None:
    x = np.random.default_rng(1).normal(size=(20, 3))
    np.testing.assert_allclose(similarity(x, apply(moved(), x)), moved(), atol=1e-12)
    flat = x * [1, 1, 0]  # points of a plane must not be mirrored
    T = similarity(flat, apply(moved(), flat))
    assert np.linalg.det(T[:3, :3]) == pytest.approx(8)
    with pytest.raises(ValueError, match="needs three pairs"):
        similarity(x[:2], x[:2])


def test_thinning_is_the_mean_of_a_voxel() -> None:
    """The grid begins at -0.5: 0 and 0.2 share a voxel, 0.6 is in the next."""
    points = np.array([[0.6, 0, 0], [0, 0, 0], [0.2, 0, 0]])
    np.testing.assert_allclose(np.sort(thinned(points, 1.0)[:, 0]), [0.1, 0.6])


def test_icp_without_pairs_changes_nothing() -> None:
    x = np.random.default_rng(2).normal(size=(20, 3))
    np.testing.assert_array_equal(icp(x, x + 100, 0.1, 5), np.eye(4))


def test_a_mesh_stands_for_vertices_and_centres() -> None:
    mesh = Mesh(np.array([[0, 0, 0], [3, 0, 0], [0, 3, 0]], np.float32), np.array([[0, 1, 2]]))
    np.testing.assert_allclose(tnt.surface_points(mesh), [[0, 0, 0], [3, 0, 0], [0, 3, 0], [1, 1, 0]])


def test_a_polygon_that_is_not_convex(tmp_path: Path) -> None:
    """An L in x and z."""
    shape = [[0, 0, 0], [2, 0, 0], [2, 0, 1], [1, 0, 1], [1, 0, 2], [0, 0, 2]]
    file = tmp_path / "x.json"
    meta = {"orthogonal_axis": "y", "axis_min": 0, "axis_max": 1, "bounding_polygon": shape}
    file.write_text(json.dumps(meta))
    volume = tnt.read_volume(file)
    points = np.array([[0.5, 0.5, 1.5], [1.5, 0.5, 0.5], [1.5, 0.5, 1.5], [0.5, 1.5, 0.5], [-0.1, 0.5, 0.5]])
    assert volume.contains(points).tolist() == [True, True, False, False, False]
    file.write_text(json.dumps(meta | {"bounding_polygon": shape[:2]}))
    with pytest.raises(InputError, match="is no polygon volume"):
        tnt.read_volume(file)


def test_missing_files_are_told_before_training(tmp_path: Path) -> None:
    scene = load_scene("dtu", "mug", path=str(tiny_neus(tmp_path)))
    settings = EvalSettings(protocol="tanks_and_temples")
    with pytest.raises(InputError, match=r"scores against the authors' scan, and dtu scene mug has none"):
        require_official(scene, settings)
    truck = replace(scene, name="truck", official=official_at(tmp_path / "t", corner(), np.eye(4)))
    assert require_official(truck, settings) is None
    (tmp_path / "t" / "Truck.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no Truck\.json in .*get tanks_and_temples truck"):
        require_official(truck, settings)
    with pytest.raises(InputError, match="scene 'mug' is none of the training scenes"):
        require_official(replace(truck, name="mug"), settings)
