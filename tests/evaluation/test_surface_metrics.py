"""Geometry scores of solids whose distances are known by construction."""

import math
from pathlib import Path

import numpy as np
import pytest

from isosweep.config.settings import EvalSettings
from isosweep.evaluation import surface_metrics
from isosweep.meshes import raycast
from isosweep.meshes.files import read_mesh
from isosweep.types import Mesh
from tests.support.analytic import box, joined, orbit, sphere, torus

SETTINGS = EvalSettings(samples=100_000)
EMPTY = Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))


def scores(pred: Mesh, truth: Mesh, **kwargs: object) -> dict[str, float | None]:
    values, reasons = surface_metrics.surface_scores(pred, truth, SETTINGS, **kwargs)  # type: ignore[arg-type]
    assert set(reasons) == {name for name, value in values.items() if value is None}
    assert {type(value) for value in values.values()} <= {
        float,
        type(None),
    }  # records take no numbers of numpy
    return {name.removeprefix("geometry/"): value for name, value in values.items()}


def watched(
    n: int = 24, masks: list[np.ndarray] | None = None, **kwargs: object
) -> surface_metrics.Observers:
    cameras = raycast.world_cameras(orbit(n, **({"focal": 15.0} | kwargs)), np.eye(4))  # type: ignore[arg-type]
    return surface_metrics.Observers(cameras, range(n), masks or [None] * n)


def test_concentric_spheres_are_their_radii_apart() -> None:
    out = scores(sphere(1.1, 6), sphere(1.0, 6))
    assert out["accuracy"] == pytest.approx(0.1, rel=0.01)
    assert out["completeness"] == pytest.approx(0.1, rel=0.01)
    assert out["chamfer"] == pytest.approx(0.1, rel=0.01)
    assert out["chamfer_sq"] == pytest.approx(2 * 0.01, rel=0.02)
    assert out["accuracy_percent"] == pytest.approx(10 / (2 * math.sqrt(3)), rel=0.01)
    assert out["fscore"] == 0.0  # 1% of the diagonal is 0.035
    assert out["normal_consistency"] == pytest.approx(1.0, abs=1e-2)


def test_equal_surfaces_score_half_the_spacing_of_the_samples_whatever_the_order_of_faces() -> None:
    mesh = torus()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(mesh.vertices))
    turned = Mesh(mesh.vertices[order], np.argsort(order)[rng.permutation(mesh.faces)])
    out, shuffled = scores(mesh, mesh), scores(turned, mesh)
    spacing = 0.5 / math.sqrt(100_000 / (4 * math.pi**2 * 0.6 * 0.25))
    for s in (out, shuffled):
        assert s["chamfer"] == pytest.approx(spacing, rel=0.05)
        assert s["fscore"] == 1.0
        assert s["normal_consistency"] > 0.998
    assert out["chamfer"] == pytest.approx(shuffled["chamfer"], rel=0.01)


def test_a_surface_that_misses_half_is_accurate_and_incomplete() -> None:
    truth = joined(box(1.0), box(1.0, (3.0, 0, 0)))
    out = scores(box(1.0), truth)
    # second box: four sides at mean distance 2.5, one face at 2 and one at 3, over lateral offsets of 0
    assert out["accuracy"] < 0.01
    assert out["completeness"] == pytest.approx((0 + 2.5) / 2, rel=0.01)
    recall, precision = 0.5, 1.0
    assert out["fscore"] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-3)


def test_offset_planes_and_flipped_normals() -> None:
    """Two unit squares 0.02 apart; winding does not matter to the normal consistency."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    out = scores(Mesh(corners + np.array([0, 0, 0.02]), faces[:, ::-1]), Mesh(corners, faces))
    assert out["accuracy"] == pytest.approx(0.02, rel=0.02)
    assert out["accuracy_percent"] == pytest.approx(2 / math.sqrt(2), rel=0.02)
    assert out["normal_consistency"] == pytest.approx(1.0)


def test_inner_surface_that_no_camera_sees_does_not_count() -> None:
    shell, ball = joined(sphere(1.0), sphere(0.5)), sphere(1.0)
    blind = scores(ball, shell)
    assert blind["completeness"] == pytest.approx(0.25 / 1.25 * 0.5, rel=0.05)
    seen = scores(ball, shell, observers=watched())
    assert seen["completeness"] < 0.01
    assert seen["fscore"] == 1.0
    assert scores(shell, ball, observers=watched())["accuracy"] < 0.01  # the same rule for the prediction


def test_cameras_above_count_only_the_upper_side() -> None:
    truth = sphere(1.0)
    low = Mesh(truth.vertices * np.where(truth.vertices[:, 2:] < 0, [1, 1, 0.6], 1.0), truth.faces)
    assert scores(low, truth)["accuracy"] > 0.03
    above = watched(16, lowest=0.5, distance=10.0, focal=50.0)
    assert scores(low, truth, observers=above)["accuracy"] < 0.015


def test_prediction_outside_the_visual_hull_does_not_count() -> None:
    truth, floater = sphere(0.5), sphere(0.1, 3, (0.9, 0, 0))
    cameras = watched().cameras
    masks = [raycast.raycast(raycast.Caster(truth), cameras, v).mask for v in range(24)]
    both = joined(truth, floater)
    assert scores(both, truth, observers=watched())["accuracy"] > 0.01
    assert scores(both, truth, observers=watched(masks=masks))["accuracy"] < 0.005
    values, reasons = surface_metrics.hull_score(both, watched(masks=masks), 20_000, 0)
    assert values["geometry/inside_hull"] == pytest.approx(0.25 / 0.26, abs=0.01)  # areas r^2
    assert not reasons
    away = surface_metrics.hull_score(sphere(0.1, 2, (50, 0, 0)), watched(4, lowest=0.9), 100, 0)
    assert away == (
        {"geometry/inside_hull": None},
        {"geometry/inside_hull": "no camera sees any of the predicted mesh"},
    )


def test_a_single_point_as_truth_has_no_diagonal_to_compare_with() -> None:
    point = Mesh(np.zeros((1, 3)), np.zeros((0, 3), dtype=np.int64))
    values, reasons = surface_metrics.surface_scores(sphere(1.0, 4), point, SETTINGS, watched())
    for name in ("geometry/accuracy_percent", "geometry/completeness_percent"):
        assert values[name] is None
        assert reasons[name] == "the true surface is a single point: its bounding box has no diagonal"


def test_a_point_cloud_as_truth_has_no_normals() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50_000, 3))
    cloud = Mesh(points / np.linalg.norm(points, axis=1, keepdims=True), np.zeros((0, 3), dtype=np.int64))
    values, reasons = surface_metrics.surface_scores(sphere(1.05, 6), cloud, SETTINGS, watched())
    assert values["geometry/accuracy"] == pytest.approx(0.05, rel=0.03)
    assert values["geometry/completeness"] == pytest.approx(0.05, rel=0.03)
    assert values["geometry/normal_consistency"] is None
    assert reasons == {"geometry/normal_consistency": "the true surface is a point cloud without normals"}


@pytest.mark.parametrize(
    ("pred", "truth", "why"),
    [
        (EMPTY, sphere(), "the predicted mesh has no face"),
        (
            sphere(0.5, 2, (50, 0, 0)),
            sphere(),
            "no camera sees any of the predicted mesh inside the visual hull",
        ),
        (sphere(), sphere(0.5, 2, (50, 0, 0)), "no camera sees any of the true surface"),
    ],
)
def test_nothing_to_compare_is_none_with_a_reason(pred: Mesh, truth: Mesh, why: str) -> None:
    above = watched(4, lowest=0.9)
    values, reasons = surface_metrics.surface_scores(pred, truth, SETTINGS, above)
    assert set(values.values()) == {None}
    assert set(reasons) == set(values)
    assert set(reasons.values()) == {why}


def test_sampling_is_uniform_by_area_on_the_surface_and_seeded() -> None:
    big, small = box(2.0), box(1.0, (5.0, 0, 0))
    cloud = surface_metrics.sample_surface(joined(big, small), 50_000, 3)
    on_small = cloud.points[:, 0] > 3
    assert on_small.mean() == pytest.approx(6 / 30, abs=1e-4)
    on_face = np.abs(np.abs(cloud.points[~on_small]).max(axis=1) - 1.0)
    assert on_face.max() < 1e-12
    top = cloud.points[~on_small & (cloud.normals[:, 2] > 0.5)]
    assert np.histogram2d(top[:, 0], top[:, 1], bins=4)[0].min() > 0.85 * len(top) / 16
    np.testing.assert_array_equal(
        cloud.points, surface_metrics.sample_surface(joined(big, small), 50_000, 3).points
    )
    assert not np.array_equal(
        cloud.points, surface_metrics.sample_surface(joined(big, small), 50_000, 4).points
    )
    flat = Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    assert len(surface_metrics.sample_surface(flat, 10, 0)) == 0


def test_genus_of_ball_torus_and_two_joined_rings() -> None:
    for mesh, genus in ((sphere(), 0), (torus(), 1), (box(), 0)):
        values, reasons = surface_metrics.topology_scores(mesh)
        assert (values, reasons) == ({"geometry/components": 1.0, "geometry/genus": float(genus)}, {})
    apart = joined(torus(), sphere(0.1, 2, (3, 0, 0)))
    assert surface_metrics.topology_scores(apart)[0] == {"geometry/components": 2.0, "geometry/genus": 1.0}


def test_genus_needs_vertices_at_one_place_to_be_merged() -> None:
    mesh = torus()
    soup = Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3))
    assert surface_metrics.topology_scores(soup)[0] == {"geometry/components": 1.0, "geometry/genus": 1.0}


def test_an_open_surface_has_no_genus() -> None:
    mesh = sphere(1.0, 2)
    values, reasons = surface_metrics.topology_scores(Mesh(mesh.vertices, mesh.faces[1:]))
    assert values["geometry/genus"] is None
    assert reasons["geometry/genus"] == (
        "the largest part of the mesh is not closed: 3 of 480 edges do not have exactly two faces"
    )
    assert surface_metrics.topology_scores(EMPTY)[1]["geometry/genus"] == "the mesh has no face"


def test_reference_points_have_their_distance_to_the_surface() -> None:
    rng = np.random.default_rng(0)
    flat = Mesh(np.array([[-5.0, -5, 0], [5, -5, 0], [0, 8, 0]]), np.array([[0, 1, 2]]))  # one large face
    points = np.column_stack([rng.uniform(-1, 1, (1001, 2)), np.linspace(0, 1, 1001)])
    values, reasons = surface_metrics.reference_scores(flat, points, samples=20_000)
    assert not reasons
    assert values["geometry/reference_median"] == pytest.approx(0.5, abs=1e-9)
    assert values["geometry/reference_p90"] == pytest.approx(0.9, abs=1e-9)
    assert surface_metrics.distance_to_mesh(
        box(), np.array([[2.0, 0.2, 0.1], [1.5, 1.5, 1.5]]), 10_000
    ) == pytest.approx([1.5, math.sqrt(3)], abs=1e-3)
    assert (
        surface_metrics.reference_scores(EMPTY, points)[1]["geometry/reference_p90"]
        == "the predicted mesh has no face"
    )
    assert surface_metrics.reference_scores(flat, points[:0])[0]["geometry/reference_median"] is None


def test_reference_points_of_the_real_scan_are_points(shared_data: Path) -> None:
    cloud = read_mesh(shared_data / "dtu_scan24" / "gt" / "sparse_reference_points_world.ply")
    assert len(cloud.vertices) > 100
    assert cloud.faces.shape == (0, 3)


def test_chamfer_is_brute_force_over_the_same_samples() -> None:
    """Every distance of every pair by scipy's cdist, and open3d's where it is installed."""
    from scipy.spatial.distance import cdist

    settings = EvalSettings(samples=1500, seed=4)
    pred, truth = torus(0.55, 0.2), joined(torus(), box(0.3, (2.0, 0, 0)))
    values, _ = surface_metrics.surface_scores(pred, truth, settings)
    real, guess = (
        surface_metrics.sample_surface(truth, settings.samples, settings.seed),
        surface_metrics.sample_surface(pred, settings.samples, settings.seed + 1),
    )
    every = cdist(guess.points, real.points)
    accuracy, completeness = every.min(axis=1), every.min(axis=0)
    reach = 0.01 * np.linalg.norm(np.ptp(truth.vertices, axis=0))
    p, r = (accuracy < reach).mean(), (completeness < reach).mean()
    normals = np.abs(guess.normals @ real.normals.T)
    forth, back = (
        normals[np.arange(1500), every.argmin(axis=1)].mean(),
        normals[every.argmin(axis=0), np.arange(1500)].mean(),
    )
    expected = {
        "accuracy": accuracy.mean(),
        "completeness": completeness.mean(),
        "chamfer": (accuracy.mean() + completeness.mean()) / 2,
        "chamfer_sq": (accuracy**2).mean() + (completeness**2).mean(),
        "fscore": 2 * p * r / (p + r),
        "normal_consistency": (forth + back) / 2,
    }
    for name, value in expected.items():
        assert values[f"geometry/{name}"] == pytest.approx(value, rel=1e-9), name
    o3d = pytest.importorskip("open3d", reason="open3d is not installed; scipy has agreed above")
    clouds = [o3d.geometry.PointCloud(o3d.utility.Vector3dVector(s.points)) for s in (guess, real)]
    theirs = np.asarray(clouds[0].compute_point_cloud_distance(clouds[1])).mean()
    assert values["geometry/accuracy"] == pytest.approx(theirs, rel=1e-6)


def test_there_is_no_distance_to_a_mesh_without_area() -> None:
    flat = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]]))
    for mesh in (flat, EMPTY):
        with pytest.raises(
            ValueError, match=rf"a mesh of {len(mesh.faces)} faces without any area has no surface"
        ):
            surface_metrics.distance_to_mesh(mesh, np.zeros((1, 3)), 10)
