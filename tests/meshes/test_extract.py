"""The mesh of a sphere model: in world units, with colours and normals, and its largest part."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from isosweep.config.settings import ExportSettings
from isosweep.evaluation import surface_metrics
from isosweep.meshes import extract, topology
from isosweep.types import Mesh
from tests.support.analytic import KNOBS, SphereModel, joined, sphere, sphere_scene

SMALL = ExportSettings(resolution=48, block=16, chunk=2000)


def similarity(scale: float = 20.0, mirror: bool = False) -> np.ndarray:
    c, s = math.cos(0.7), math.sin(0.7)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * np.array([[c, -s, 0], [s, c, 0], [0, 0, -1.0 if mirror else 1.0]])
    matrix[:3, 3] = [100.0, -50.0, 30.0]
    return matrix


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] - mesh.vertices.mean(0) for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("mirror", [False, True])
def test_the_mesh_is_in_world_units_with_outward_normals(mirror: bool) -> None:
    model = SphereModel(0.5)
    matrix = similarity(mirror=mirror)
    mesh = extract.export_mesh(model, sphere_scene(model, matrix), KNOBS, SMALL)
    away = mesh.vertices - matrix[:3, 3]
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), 10.0, rtol=5e-3)
    assert volume(mesh) == pytest.approx(4 / 3 * math.pi * 1000, rel=0.02)
    assert mesh.normals is not None
    np.testing.assert_allclose((mesh.normals * away).sum(axis=1), 10.0, rtol=0.02)


def test_colours_are_seen_along_the_inward_normal_of_the_scene_frame() -> None:
    """The model paints -direction / 2 + 1 / 2: along -n that is the normal's own colour."""
    model = SphereModel(0.5)
    matrix = similarity()
    mesh = extract.export_mesh(model, sphere_scene(model, matrix), KNOBS, SMALL)
    normal = (mesh.vertices - matrix[:3, 3]) @ (matrix[:3, :3] / 20.0) / 10.0
    assert mesh.colors is not None
    assert np.abs(mesh.colors - (normal / 2 + 0.5)).max() < 0.03
    plain = extract.export_mesh(model, sphere_scene(model), KNOBS, replace(SMALL, colors=False))
    assert plain.colors is None


def test_level_moves_the_surface_and_an_empty_one_is_an_error() -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model)
    mesh = extract.export_mesh(model, scene, KNOBS, replace(SMALL, level=0.2))
    assert np.linalg.norm(mesh.vertices, axis=1).mean() == pytest.approx(0.7, abs=2e-3)
    with pytest.raises(
        ValueError, match=r"no surface at level -2: the field spans \[-0\.5, 1\.232\] .* set export\.level"
    ):
        extract.export_mesh(model, scene, KNOBS, replace(SMALL, level=-2))


def test_only_the_largest_part_is_kept_on_request() -> None:
    class Two(SphereModel):
        def level(self, points: torch.Tensor, knobs: object) -> torch.Tensor:
            small = (points - 0.75).norm(dim=-1) - 0.15
            return torch.minimum(points.norm(dim=-1) - self.radius, small)

    scene = sphere_scene(SphereModel(0.5))
    both = extract.export_mesh(Two(0.5), scene, KNOBS, SMALL)
    one = extract.export_mesh(Two(0.5), scene, KNOBS, replace(SMALL, largest_component=True))
    assert surface_metrics.topology_scores(both)[0]["geometry/components"] == 2.0
    assert surface_metrics.topology_scores(one)[0]["geometry/components"] == 1.0
    assert np.abs(one.vertices).max() == pytest.approx(0.5, abs=0.01)
    assert one.colors is not None
    assert len(one.colors) == len(one.vertices)


def test_largest_is_by_area_and_not_by_faces() -> None:
    kept = topology.largest_component(joined(sphere(0.1, 5), sphere(1.0, 2)))
    assert len(kept.faces) == len(sphere(1.0, 2).faces)


def test_the_largest_part_keeps_its_own_vertices_only() -> None:
    ball = sphere(1.0, 2)
    kept = topology.largest_component(joined(sphere(0.1, 3), ball))
    assert len(kept.vertices) == len(ball.vertices)
    triangles, expected = (np.sort(m.vertices[m.faces].reshape(-1, 9), axis=0) for m in (kept, ball))
    np.testing.assert_allclose(triangles, expected)


def test_areas_by_hand() -> None:
    corners = np.array([[0.0, 0, 0], [3, 0, 0], [0, 4, 0], [0, 0, 2]])
    mesh = Mesh(corners, np.array([[0, 1, 2], [0, 1, 3], [0, 0, 1]]))
    assert topology.face_areas(mesh).tolist() == [6.0, 3.0, 0.0]


def test_holes_are_closed_before_faces_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ball sticks out of the box below z = -0.4: a hole with a loop of 2 pi 0.3 = 1.88. The box's side is 1."""
    pytest.importorskip("fast_simplification")
    model = SphereModel(0.5)
    scene = sphere_scene(model, radius=0.5)

    class Cut(SphereModel):
        def level(self, points: torch.Tensor, knobs: object) -> torch.Tensor:
            return super().level(points + torch.tensor([0.0, 0.0, 0.1]), knobs)

    def parts(**changes: object) -> tuple[int, float]:
        mesh = extract.export_mesh(Cut(0.5), scene, KNOBS, replace(SMALL, resolution=24, **changes))
        edge = np.sort(np.stack([mesh.faces, np.roll(mesh.faces, -1, axis=1)], -1).reshape(-1, 2), axis=1)
        assert mesh.colors is not None
        assert mesh.normals is not None
        return len(mesh.faces), float((np.unique(edge, axis=0, return_counts=True)[1] == 1).sum())

    assert parts()[1] > 20
    assert parts(fill_holes=1.8)[1] > 20
    faces, open_edges = parts(fill_holes=2.2, faces=300)
    assert open_edges == 0
    assert faces <= 300


def test_a_crop_is_a_box_in_normalised_units_with_all_the_cells() -> None:
    """Half of the ball, in a scene that is five times as large in world units: x from 0 to 1."""
    scene = sphere_scene(SphereModel(), to_world=np.diag([5.0, 5.0, 5.0, 1.0]))
    settings = ExportSettings(resolution=16, crop=[0, -1, -1, 1, 1, 1])
    mesh = extract.export_mesh(SphereModel(), scene, KNOBS, settings)
    assert mesh.vertices[:, 0].min() == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), [2.5, 2.5, 2.5], atol=0.1)
