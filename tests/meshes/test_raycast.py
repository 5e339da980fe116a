"""Ray casting against solids whose silhouettes, depths and normals are known."""

import math
import threading

import numpy as np
import pytest
import torch

from isosweep import geometry
from isosweep.meshes import raycast
from isosweep.types import Cameras, Mesh
from tests.support.analytic import box, joined, orbit, sphere

IDENTITY = np.eye(4)
EMPTY = Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))


def similarity(scale: float, shift: tuple[float, float, float]) -> np.ndarray:
    c, s = math.cos(0.4), math.sin(0.4)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    matrix[:3, 3] = shift
    return matrix


def test_a_box_face_on_has_exact_depth_normal_and_mask() -> None:
    """A unit cube seen from z = 3 along -z: the front face lies at 2.5 and spans 10 pixels."""
    pose = torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3]]])
    K = torch.tensor([[[25.0, 0, 10], [0, 25, 8], [0, 0, 1]]])
    cameras = raycast.world_cameras(Cameras(pose, K, torch.tensor([[16, 20]]), 0.5), IDENTITY)
    hits = raycast.raycast(raycast.Caster(box()), cameras, 0)
    expected = np.zeros((16, 20), dtype=bool)
    expected[3:13, 5:15] = True  # 25 * 0.5 / 2.5 = 5 pixels to each side of the centre
    np.testing.assert_array_equal(hits.mask, expected)
    np.testing.assert_allclose(hits.normal[hits.mask], np.tile([0, 0, 1.0], (100, 1)), atol=1e-6)
    row, col = 3, 7
    along = math.sqrt(1 + ((col + 0.5 - 10) / 25) ** 2 + ((row + 0.5 - 8) / 25) ** 2)
    assert hits.depth[row, col] == pytest.approx(2.5 * along, rel=1e-6)
    assert np.isinf(hits.depth[~hits.mask]).all()
    assert (hits.normal[~hits.mask] == 0).all()


def test_integer_pixel_centres_shift_the_silhouette_by_half_a_pixel() -> None:
    pose = torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3]]])
    K = torch.tensor([[[25.0, 0, 10], [0, 25, 8], [0, 0, 1]]])
    cameras = raycast.world_cameras(Cameras(pose, K, torch.tensor([[16, 20]]), 0.0), IDENTITY)
    mask = raycast.raycast(raycast.Caster(box(0.99)), cameras, 0).mask
    assert mask.sum() == 81  # columns 6 to 14, rows 4 to 12
    assert mask[4:13, 6:15].all()


def test_depth_of_a_sphere_in_a_far_and_scaled_world() -> None:
    to_world = similarity(200.0, (5000.0, -3000.0, 800.0))
    cameras = raycast.world_cameras(orbit(4), to_world)
    middle = to_world[:3, 3]
    mesh = sphere(100.0, 6, tuple(middle))
    for view in range(4):
        centre = cameras.c2w[view, :, 3].numpy()
        assert np.linalg.norm(centre - middle) == pytest.approx(600.0, rel=1e-6)
        assert np.allclose(cameras.c2w[view, :, :3].T @ cameras.c2w[view, :, :3], np.eye(3), atol=1e-6)
        hits = raycast.raycast(raycast.Caster(mesh), cameras, view)
        assert hits.depth.min() == pytest.approx(500.0, abs=0.5)
        h, w = cameras.hw[view].tolist()
        reach = 40 * math.tan(math.asin(100 / 600))  # radius of the disc in pixels
        row, col = np.mgrid[:h, :w]
        disc = (row + 0.5 - h / 2) ** 2 + (col + 0.5 - w / 2) ** 2 < reach**2
        assert (hits.mask != disc).sum() <= 4


def test_rays_and_projection_are_those_of_training() -> None:
    """Parity with geometry.py, and the pixel a ray came from."""
    for pixel_centre in (0.0, 0.5):
        cameras = raycast.world_cameras(orbit(3, pixel_centre=pixel_centre), IDENTITY)
        hits = raycast.raycast(raycast.Caster(sphere()), cameras, 1)
        row, col = np.divmod(np.arange(32 * 40), 40)
        view = torch.ones(len(row), dtype=torch.long)
        rays = geometry.pixel_rays(
            cameras, view, torch.from_numpy(row), torch.from_numpy(col), torch.zeros(3)
        )
        centre, dirs = raycast.camera_rays(cameras, 1)
        np.testing.assert_allclose(rays.dirs.numpy(), dirs, atol=1e-12)
        np.testing.assert_allclose(rays.origins[0].numpy(), centre, atol=1e-12)
        hit = hits.mask.reshape(-1)
        points = centre + hits.depth.reshape(-1)[hit, None] * dirs[hit]
        back = raycast.project(cameras, 1, points)
        np.testing.assert_array_equal(back[0], row[hit])
        np.testing.assert_array_equal(back[1], col[hit])
        assert back[2].all()


def test_points_behind_and_beside_the_camera_are_not_in_the_frame() -> None:
    cameras = raycast.world_cameras(orbit(1), IDENTITY)
    centre, forward = cameras.c2w[0, :, 3].numpy(), cameras.c2w[0, :, 2].numpy()
    right = cameras.c2w[0, :, 0].numpy()
    points = np.stack([centre + forward, centre - forward, centre + forward + 5 * right, centre])
    assert raycast.project(cameras, 0, points)[2].tolist() == [True, False, False, False]


def test_the_outermost_pixels_are_in_the_frame() -> None:
    cameras = raycast.world_cameras(orbit(1, focal=40.0), IDENTITY)
    pose = cameras.c2w[0].numpy()
    corners = [(0, 0), (39, 0), (0, 31), (39, 31), (-1, 5), (40, 5), (5, -1), (5, 32)]
    at = [np.array([(c + 0.5 - 20) / 40, (r + 0.5 - 16) / 40, 1.0]) for c, r in corners]
    points = pose[:, 3] + np.stack(at) @ pose[:, :3].T
    row, col, inside = raycast.project(cameras, 0, points)
    assert inside.tolist() == [True] * 4 + [False] * 4
    assert (row.min(), row.max(), col.min(), col.max()) == (0, 31, 0, 39)  # also of the points outside
    assert list(zip(col[:4].tolist(), row[:4].tolist(), strict=True)) == corners[:4]


def test_seen_is_the_outside_of_a_shell_and_not_its_inside() -> None:
    shell = joined(sphere(1.0), sphere(0.8))
    caster = raycast.Caster(shell)
    cameras = raycast.world_cameras(orbit(20, focal=15.0), IDENTITY)
    outer, inner = shell.vertices[: len(shell.vertices) // 2], shell.vertices[len(shell.vertices) // 2 :]
    assert raycast.visible_points(caster, cameras, outer, range(20)).all()
    assert not raycast.visible_points(caster, cameras, inner, range(20)).any()


def test_one_camera_sees_the_cap_of_a_sphere() -> None:
    cameras = raycast.world_cameras(orbit(1, focal=15.0), IDENTITY)
    mesh = sphere(1.0, 6)
    visible = raycast.visible_points(raycast.Caster(mesh), cameras, mesh.vertices, [0])
    towards = cameras.c2w[0, :, 3].numpy() / 3
    height = mesh.vertices @ towards  # visible where above 1 / 3, by the tangent cone
    assert visible[height > 1 / 3 + 0.02].all()
    assert not visible[height < 1 / 3 - 0.02].any()
    narrow = raycast.world_cameras(orbit(1, focal=400.0), IDENTITY)  # sees 0.2 x 0.16 at 2
    count = raycast.visible_points(raycast.Caster(mesh), narrow, mesh.vertices, [0]).sum()
    assert count == pytest.approx(len(mesh.vertices) / (4 * math.pi) * 0.2 * 0.16, rel=0.2)


def test_hull_of_masks_and_its_dilation() -> None:
    cameras = raycast.world_cameras(orbit(1, focal=40.0), IDENTITY)
    mask = np.zeros((32, 40), dtype=bool)
    mask[10:20, 10:30] = True
    pose = cameras.c2w[0].numpy()

    def at(col: float, row: float) -> np.ndarray:
        return pose[:, 3] + pose[:, :3] @ np.array([(col + 0.5 - 20) / 40, (row + 0.5 - 16) / 40, 1.0])

    points = np.stack([at(10, 10), at(9, 10), at(8, 10), at(31, 19), at(-5, 10)])
    for dilation, expected in ((0, [1, 0, 0, 0, 1]), (1, [1, 1, 0, 0, 1]), (2, [1, 1, 1, 1, 1])):
        assert raycast.in_hull(cameras, [mask], points, [0], dilation).tolist() == [bool(x) for x in expected]
    assert raycast.in_hull(cameras, [None], points, [0]).all()


def test_silhouette_iou_is_one_for_the_mesh_itself_and_none_for_nothing() -> None:
    cameras = raycast.world_cameras(orbit(3), IDENTITY)
    caster = raycast.Caster(sphere(0.5))
    masks = [raycast.raycast(caster, cameras, v).mask for v in range(3)]
    assert raycast.silhouette_iou(caster, cameras, masks, range(3)) == [1.0, 1.0, 1.0]
    smaller = raycast.silhouette_iou(raycast.Caster(sphere(0.35)), cameras, masks, range(3))
    assert smaller[0] == pytest.approx(0.49, abs=0.05)
    nothing = raycast.Caster(EMPTY)
    assert raycast.silhouette_iou(nothing, cameras, [masks[0] & False], [0]) == [None]
    assert raycast.silhouette_iou(nothing, cameras, masks[:1], [0]) == [0.0]
    assert nothing.diagonal == 0.0


def test_many_rays_on_threads_equal_few() -> None:
    caster = raycast.Caster(sphere())
    rng = np.random.default_rng(0)
    points = rng.normal(size=(600_000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    origins = np.broadcast_to(np.array([0, 0, 4.0]), points.shape)
    dirs = (points - origins) / np.linalg.norm(points - origins, axis=1, keepdims=True)
    face, depth = caster.first_hit(origins, dirs)
    few = caster.first_hit(origins[::1000], dirs[::1000])
    np.testing.assert_array_equal(face[::1000], few[0])
    np.testing.assert_array_equal(depth[::1000], few[1])


def test_the_first_face_is_a_hit_and_minus_one_is_none() -> None:
    face = np.array([[0, -1], [3, -1]])
    hits = raycast.Hits(face, np.ones((2, 2)), np.zeros((2, 2, 3)))
    assert hits.mask.tolist() == [[True, False], [True, False]]


def test_rows_are_dealt_out_to_threads_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of a test session may have one core; here there are two, whatever the session has."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    seen = np.zeros(25, dtype=int)
    threads = set()

    def work(rows: slice) -> None:
        seen[rows] += 1
        threads.add(threading.get_ident())

    raycast._in_parts(work, 25, size=4)
    assert (seen == 1).all()
    assert threading.get_ident() not in threads, "a pool did the work"


def test_a_mesh_far_from_the_origin_keeps_its_digits() -> None:
    """At 2e6 a float32 knows quarters; the cube is 1 wide."""
    shift = np.array([2e6, -2e6, 2e6])
    moved = box()
    caster = raycast.Caster(Mesh(moved.vertices + shift, moved.faces))
    origins = shift + np.array([[0.1, 0.2, 3.0], [0.6, 0.0, 3.0]])
    face, depth = caster.first_hit(origins, np.array([[0.0, 0, -1], [0, 0, -1]]))
    assert face[0] >= 0
    assert face[1] == -1
    assert depth[0] == pytest.approx(2.5, rel=1e-5)
