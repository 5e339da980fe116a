"""Rays, hits, contraction and frames against hand-worked numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from isosweep import geometry as g
from isosweep.types import Cameras, Ndc, Rays

UP = np.array([0.0, 0.0, 1.0])


def camera(c2w: np.ndarray, K: list[list[float]], pixel_centre: float) -> Cameras:
    return Cameras(
        c2w=torch.tensor(c2w, dtype=torch.float32)[None],
        K=torch.tensor(K, dtype=torch.float32)[None],
        hw=torch.tensor([[4, 4]]),
        pixel_centre=pixel_centre,
    )


def rays(origin: list[float], direction: list[float]) -> Rays:
    d = torch.tensor([direction])
    return Rays(torch.tensor([origin]), d / d.norm(), torch.ones(1, 3))


def ray_through(cameras: Cameras, row: float, col: float) -> torch.Tensor:
    index = torch.zeros(1, dtype=torch.long)
    return g.pixel_rays(cameras, index, torch.tensor([row]), torch.tensor([col]), torch.ones(3)).dirs[0]


def test_pixel_centre_one_half_is_the_middle_between_pixels():
    """4x4 image, f = 2, c = 2: the axis passes between pixels 1 and 2; pixel 0 is at (0.5 - 2)/2."""
    c = camera(np.eye(4)[:3], [[2, 0, 2], [0, 2, 2], [0, 0, 1]], 0.5)
    assert torch.allclose(ray_through(c, 1.5, 1.5), torch.tensor([0.0, 0.0, 1.0]))
    d = ray_through(c, 0.0, 3.0)
    assert torch.allclose(d / d[2], torch.tensor([0.75, -0.75, 1.0]))


def test_pixel_centre_zero_passes_through_integer_pixels():
    c = camera(np.eye(4)[:3], [[2, 0, 2], [0, 2, 2], [0, 0, 1]], 0.0)
    assert torch.allclose(ray_through(c, 2.0, 2.0), torch.tensor([0.0, 0.0, 1.0]))
    d = ray_through(c, 0.0, 3.0)
    assert torch.allclose(d / d[2], torch.tensor([0.5, -1.0, 1.0]))


def test_skew_and_rotation_follow_the_intrinsics():
    """K^-1 (3, 3, 1): y = (3 - 1)/2 = 1, x = (3 - 1 - 0.5 * 1)/2 = 0.75."""
    K = [[2, 0.5, 1], [0, 2, 1], [0, 0, 1]]
    d = ray_through(camera(np.eye(4)[:3], K, 0.0), 3.0, 3.0)
    assert torch.allclose(d / d[2], torch.tensor([0.75, 1.0, 1.0]))
    turned = np.array([[0, 0, 1, 5], [1, 0, 0, 6], [0, 1, 0, 7.0]])
    d = ray_through(camera(turned, K, 0.0), 3.0, 3.0)
    assert torch.allclose(d / d[0], torch.tensor([1.0, 0.75, 1.0]))


def test_project_inverts_pixel_rays():
    c2w = g.look_at(np.array([1.0, -3.0, 2.0]), np.zeros(3), UP)
    for centre in (0.0, 0.5):
        c = camera(c2w, [[200, 1.5, 90], [0, 210, 70], [0, 0, 1]], centre)
        view, row, col = (
            torch.zeros(3, dtype=torch.long),
            torch.tensor([0, 40, 99]),
            torch.tensor([7, 3, 120]),
        )
        r = g.pixel_rays(c, view, row, col, torch.zeros(3, 3))
        pixel, depth = g.project(c, 0, r.origins + 2.5 * r.dirs)
        assert torch.allclose(pixel, torch.stack([col, row], -1).float(), atol=1e-3)
        assert (depth > 0).all()
        assert torch.allclose(r.dirs.norm(dim=-1), torch.ones(3))


def test_look_at_is_right_handed_with_the_image_upright():
    c2w = g.look_at(np.array([0.0, -2.0, 0.0]), np.zeros(3), UP)
    assert np.allclose(c2w, [[1, 0, 0, 0], [0, 0, 1, -2], [0, -1, 0, 0]])
    straight_down = g.look_at(np.array([0.0, 0.0, 2.0]), np.zeros(3), UP)
    assert np.isclose(np.linalg.det(straight_down[:, :3]), 1.0)
    assert np.allclose(straight_down[:, 2], [0, 0, -1])


@pytest.mark.parametrize(
    ("origin", "direction", "near", "far"),
    [
        ([0, 0, -3], [0, 0, 1], 2.0, 4.0),
        ([0, 0, 0], [0, 0, 1], 0.0, 1.0),
        ([0, 0, 3], [0, 0, 1], 0.0, 0.0),  # behind
        ([2, 0, -3], [0, 0, 1], 0.0, 0.0),  # parallel, outside
        ([-2, -2, 0], [1, 1, 0], math.sqrt(2), 3 * math.sqrt(2)),  # edge to edge
    ],
)
def test_box_hit(origin, direction, near, far):
    a, b = g.box_hit(rays([float(v) for v in origin], [float(v) for v in direction]), 1.0)
    assert a.item() == pytest.approx(near, abs=1e-6)
    assert b.item() == pytest.approx(far, abs=1e-6)


def test_box_hit_along_a_face_is_finite():
    near, far = g.box_hit(rays([1.0, 1.0, -3.0], [0.0, 0.0, 1.0]), 1.0)
    assert torch.isfinite(near).all()
    assert torch.isfinite(far).all()
    scaled_near, scaled_far = g.box_hit(rays([0.0, 0.0, -3.0], [0.0, 0.0, 1.0]), 1.5)
    assert (scaled_near.item(), scaled_far.item()) == (1.5, 4.5)


@pytest.mark.parametrize(
    ("origin", "direction", "near", "far"),
    [
        ([0, 0, -3], [0, 0, 1], 2.0, 4.0),
        ([0.6, 0, -3], [0, 0, 1], 2.2, 3.8),  # half chord 0.8
        ([0, 0, 0.5], [0, 0, 1], 0.0, 0.5),
        ([0, 0, 3], [0, 0, 1], 0.0, 0.0),
        ([1.5, 0, -3], [0, 0, 1], 0.0, 0.0),
    ],
)
def test_sphere_hit(origin, direction, near, far):
    a, b = g.sphere_hit(rays([float(v) for v in origin], [float(v) for v in direction]), 1.0)
    assert a.item() == pytest.approx(near, abs=1e-5)
    assert b.item() == pytest.approx(far, abs=1e-5)


def test_contract_numbers_inverse_and_gradient():
    x = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [1, 0, 0], [4, 0, 0], [0, 0, -1e6]], requires_grad=True)
    y = g.contract(x)
    expected = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [1, 0, 0], [1.75, 0, 0], [0, 0, -2.0]])
    assert torch.allclose(y, expected, atol=1e-5)
    assert torch.allclose(g.contract(3 * x, radius=3.0), y)
    y.sum().backward()
    assert torch.isfinite(x.grad).all()
    points = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) * 4
    c = g.contract(points, 2.0)
    norm = c.norm(dim=-1, keepdim=True)
    back = torch.where(norm > 1, c / norm / (2 - norm), c) * 2.0  # |c| = 2 - 1 / |x / r| outside the ball
    assert torch.allclose(back, points, rtol=1e-3, atol=1e-4)


def test_decompose_projection_recovers_camera_up_to_scale_and_sign():
    K = np.array([[700.0, 1.0, 400], [0, 710, 300], [0, 0, 1]])
    c2w = g.look_at(np.array([2.0, -3.0, 1.0]), np.array([0.1, 0.2, 0]), UP)
    R = c2w[:, :3].T
    P = K @ np.concatenate([R, -R @ c2w[:, 3:]], 1)
    for factor in (1.0, -1.0, 250.0, 1e-4):
        found_K, found = g.decompose_projection(factor * P)
        assert np.allclose(found_K, K, atol=1e-8)
        assert np.allclose(found, c2w, atol=1e-10)


def test_decompose_projection_refuses_nonsense():
    P = np.eye(3, 4)
    P[0, 0] = np.nan
    with pytest.raises(ValueError, match="nan or inf"):
        g.decompose_projection(P)
    with pytest.raises(ValueError, match="singular"):
        g.decompose_projection(np.diag([1.0, 0.0, 1.0, 0.0])[:3])


def test_opengl_and_opencv_are_inverse_flips():
    """An OpenGL camera at z = 4 with the identity rotation looks down -z with y up."""
    c2w = np.concatenate([np.eye(3), [[0.0], [0], [4]]], 1)
    cv = g.opengl_to_opencv(c2w)
    assert np.allclose(cv[:, 2], [0, 0, -1])
    assert np.allclose(cv[:, 1], [0, -1, 0])
    assert np.allclose(cv[:, 3], [0, 0, 4])
    assert np.allclose(g.opencv_to_opengl(cv), c2w)


def test_world_round_trip_and_scale():
    matrix = np.array([[0, -2, 0, 1], [2, 0, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1.0]])
    points = np.array([[1.0, 0, 0], [0, 1, 0]])
    assert np.allclose(g.to_world(points, matrix), [[1, 4, 3], [-1, 2, 3]])
    assert np.allclose(g.from_world(g.to_world(points, matrix), matrix), points)
    assert g.similarity_scale(matrix) == pytest.approx(2.0)
    for bad, words in [
        (np.diag([1.0, 2, 1, 1]), "axes of lengths"),
        (np.diag([-1.0, 1, 1, 1]), "determinant -1"),
        (np.diag([np.inf, 1, 1, 1]), "non-finite"),
    ]:
        with pytest.raises(ValueError, match=words):
            g.similarity_scale(bad)


def test_ndc_by_hand():
    """near 2, scales 1/2 and 1: (4, 3, 8) -> (0.25, 0.375, 0.5); z = near -> -1, infinity -> 1."""
    ndc = Ndc(0.5, 1.0, 2.0)
    points = torch.tensor([[4.0, 3, 8], [0, 0, 2], [1, 1, 2e6]])
    there = g.to_ndc(points, ndc)
    assert torch.allclose(there[0], torch.tensor([0.25, 0.375, 0.5]))
    assert there[1].tolist() == [0, 0, -1]
    assert there[2, 2] == pytest.approx(1, abs=1e-5)
    assert torch.allclose(g.from_ndc(there[:2], ndc), points[:2])


def test_ndc_rays_pass_through_the_points_their_rays_pass():
    """A point on a ray is, in NDC, on the ray's image; the box entry is the near plane, the exit infinity."""
    ndc = Ndc(0.5, 0.6, 1.0)
    generator = torch.Generator().manual_seed(0)
    o = torch.randn(50, 3, generator=generator) * 0.2
    d = torch.nn.functional.normalize(
        torch.randn(50, 3, generator=generator) * 0.4 + torch.tensor([0, 0, 1.5]), dim=-1
    )
    plain = Rays(o, d, torch.zeros(50, 3))
    bent = g.ndc_rays(plain, ndc)
    assert torch.allclose(bent.dirs.norm(dim=-1), torch.ones(50), atol=1e-6)
    for depth in (1.0, 1.7, 9.0, 300.0):
        at = o + (depth - o[:, 2:]) / d[:, 2:] * d
        off = g.to_ndc(at, ndc) - bent.origins
        along = (off * bent.dirs).sum(-1)
        assert (along > 0.99).all()
        assert (off - along[:, None] * bent.dirs).norm(dim=-1).max() < 1e-5
    near, far = g.box_hit(bent, 1.0)
    hit = far > near
    ends = bent.origins + far[:, None] * bent.dirs
    assert hit.float().mean() > 0.8
    inside = (bent.origins + near[:, None] * bent.dirs).abs().amax(-1) < 1 + 1e-5
    assert inside[hit].all()
    assert (ends[hit].abs().amax(-1) < 1 + 1e-5).all()


def test_ndc_rays_that_look_back_meet_nothing():
    plain = Rays(torch.zeros(1, 3), torch.tensor([[0.0, 0, -1]]), torch.zeros(1, 3))
    near, far = g.box_hit(g.ndc_rays(plain, Ndc(1.0, 1.0, 1.0)), 1.0)
    assert far <= near


def test_ndc_cameras_project_what_their_rays_see():
    pose = np.eye(4)[:3].copy()
    pose[:, 3] = [0.1, -0.2, 0.05]
    c = replace(camera(pose, [[4, 0, 2], [0, 4, 2], [0, 0, 1]], 0.5), ndc=Ndc(0.9, 0.9, 1.0))
    view = torch.zeros(3, dtype=torch.long)
    row, col = torch.tensor([0, 1, 3]), torch.tensor([2, 0, 3])
    seen = g.pixel_rays(c, view, row, col, torch.zeros(3))
    pixel, depth = g.project(c, 0, seen.origins + 1.5 * seen.dirs)
    assert torch.allclose(pixel, torch.stack([col, row], -1).float(), atol=1e-4)
    assert (depth > 0.9).all()
