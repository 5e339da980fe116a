"""The exact demo mesh, written as a method would write it, comes back into the scene's world to where it was."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from isosweep.config.method_settings import FRAMES, CollectSettings, PrepareSettings
from isosweep.errors import InputError
from isosweep.external import frames
from isosweep.external.collect import box, collect, overlap
from isosweep.external.layout import Prepared, prepare
from isosweep.external.process import MethodFailed
from isosweep.meshes.files import read_mesh, write_mesh
from isosweep.types import Scene

TURN = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])


def nerfstudio(points: np.ndarray, out: Path) -> np.ndarray:
    """As nerfstudio: oriented, centred and scaled by its data parser, which says so in a file."""
    transform, scale = np.column_stack([TURN, [0.1, -0.2, 0.3]]), 0.4
    (out / "x").mkdir()
    (out / "x" / "dataparser_transforms.json").write_text(
        json.dumps({"transform": transform.tolist(), "scale": scale})
    )
    return scale * (points @ transform[:, :3].T + transform[:, 3])


def instant_ngp(points: np.ndarray, out: Path) -> np.ndarray:
    """As Instant-NGP writes its meshes: its axes are turned round, x is the data's y."""
    return points[:, [1, 2, 0]]


def by_matrix(points: np.ndarray, out: Path) -> np.ndarray:
    """As a method that leaves its own normalisation in a file."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 3 * TURN, [5, 6, 7]
    np.save(out / "to_data.npy", np.linalg.inv(matrix))
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def as_it_is(points: np.ndarray, out: Path) -> np.ndarray:
    return points


AS_WRITTEN = {
    "data": (as_it_is, CollectSettings(frame="data")),
    "neus": (as_it_is, CollectSettings(frame="neus")),
    "nerfstudio": (
        nerfstudio,
        CollectSettings(frame="nerfstudio", frame_file="{out}/**/dataparser_transforms.json"),
    ),
    "ngp": (instant_ngp, CollectSettings(frame="ngp")),
    "matrix": (by_matrix, CollectSettings(frame="matrix", frame_file="{out}/to_data.npy")),
}


@pytest.fixture(scope="module")
def prepared(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(
        scene, PrepareSettings(layout="neus", masks=True, test_views=False), tmp_path_factory.mktemp("data")
    )


def test_every_frame_is_tested():
    assert set(AS_WRITTEN) == set(FRAMES)


@pytest.mark.parametrize("frame", FRAMES)
def test_the_exact_mesh_comes_back_from_every_frame(frame, scene, mug, prepared, tmp_path):
    written, settings = AS_WRITTEN[frame]
    mesh = read_mesh(mug / "data.ply")  # in the normalised frame, which is what was prepared
    write_mesh(replace(mesh, vertices=written(mesh.vertices, tmp_path)), tmp_path / "mesh")
    settings = replace(settings, mesh="{out}/mesh.ply", no_renders="none")
    found = collect(settings, scene, prepared, tmp_path, {"out": str(tmp_path)})
    assert found.mesh is not None
    truth = read_mesh(mug / "mesh.ply").vertices
    there, back = (
        cKDTree(a).query(b)[0].mean() for a, b in ((truth, found.mesh.vertices), (found.mesh.vertices, truth))
    )
    diagonal = float(np.linalg.norm(np.ptp(truth, axis=0)))
    assert (there + back) / 2 < 1e-4 * diagonal
    assert found.notes["overlap with the box of the true surface"] > 0.99
    assert found.pictures.why_none == "none"


def test_a_mesh_in_another_frame_is_refused_by_its_box(scene, mug, prepared, tmp_path):
    mesh = read_mesh(mug / "data.ply")
    for points in (
        read_mesh(mug / "mesh.ply").vertices,  # in the world
        1000 * mesh.vertices,  # in millimetres
        0.01 * mesh.vertices,
        mesh.vertices + np.array([3.0, 0, 0]),
        0.33 * mesh.vertices + 0.5,
    ):
        write_mesh(replace(mesh, vertices=points), tmp_path / "mesh")
        with pytest.raises(MethodFailed, match=r"lies in another frame than method\.collect\.frame=data"):
            collect(CollectSettings(mesh="{out}/mesh.ply"), scene, prepared, tmp_path, {"out": str(tmp_path)})
    bare = replace(scene, truth=None)
    write_mesh(replace(mesh, vertices=1000 * mesh.vertices), tmp_path / "mesh")
    with pytest.raises(MethodFailed, match="overlap with the scene's box"):
        collect(CollectSettings(mesh="{out}/mesh.ply"), bare, prepared, tmp_path, {"out": str(tmp_path)})
    settings = CollectSettings(mesh="{out}/mesh.ply", background=True)
    with pytest.raises(MethodFailed, match="share of the vertices"):
        collect(settings, scene, prepared, tmp_path, {"out": str(tmp_path)})


def test_a_mesh_with_the_background_may_be_larger_than_the_box(scene, mug, prepared, tmp_path):
    mesh = read_mesh(mug / "data.ply")
    far = replace(mesh, vertices=np.concatenate([mesh.vertices, 50 * mesh.vertices]))
    write_mesh(far, tmp_path / "mesh")
    settings = CollectSettings(mesh="{out}/mesh.ply", background=True)
    found = collect(settings, scene, prepared, tmp_path, {"out": str(tmp_path)})
    assert found.notes["share of the vertices in the scene's box"] == pytest.approx(0.5, abs=0.05)


def test_overlaps_by_hand():
    unit = (np.zeros(3), np.ones(3))
    assert overlap(unit, unit) == pytest.approx(1)
    assert overlap(unit, (np.zeros(3), np.array([1, 1, 2]))) == pytest.approx(0.5)
    assert overlap(unit, (np.array([0.5, 0, 0]), np.array([1.5, 1, 1]))) == pytest.approx(1 / 3)
    assert overlap(unit, (np.full(3, 2.0), np.full(3, 3.0))) == 0
    flat = (np.zeros(3), np.array([1.0, 1, 0]))
    assert overlap(flat, flat) == pytest.approx(1)
    points = np.concatenate([np.random.default_rng(0).random((10_000, 3)), [[1e6, 0, 0]]])
    assert box(points)[1][0] < 1.01


def test_the_newest_mesh_is_taken_by_its_number(scene, mug, prepared, tmp_path):
    mesh = read_mesh(mug / "data.ply")
    write_mesh(mesh, tmp_path / "meshes" / "10000")
    write_mesh(replace(mesh, vertices=mesh.vertices * 99), tmp_path / "meshes" / "2000")
    settings = CollectSettings(mesh="{out}/meshes/*.ply")
    found = collect(settings, scene, prepared, tmp_path, {"out": str(tmp_path)})
    assert found.notes["mesh"] == "meshes/10000.ply"


def test_what_cannot_be_read_is_told(prepared, tmp_path):
    with pytest.raises(InputError, match=r"none fits method\.collect\.frame_file=None"):
        frames.mesh_to_data(CollectSettings(frame="nerfstudio"), prepared.folder, None)
    file = tmp_path / "x.json"
    file.write_text("{}")
    with pytest.raises(InputError, match="no 3x4 `transform`"):
        frames.mesh_to_data(CollectSettings(frame="nerfstudio"), prepared.folder, file)
    file.write_text("{")
    with pytest.raises(InputError, match="cannot read"):
        frames.mesh_to_data(CollectSettings(frame="matrix"), prepared.folder, file)
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        frames.mesh_to_data(CollectSettings(frame="matrix", matrix=[1, 2]), prepared.folder, None)
    stretched = [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    with pytest.raises(InputError, match=r"method\.collect\.frame=matrix"):
        frames.mesh_to_data(CollectSettings(frame="matrix", matrix=stretched), prepared.folder, None)
