"""Where the rays of a view begin, by the points that it sees."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from isosweep.data.near import FEW, near_of
from isosweep.geometry import pixel_rays
from isosweep.models.base import box_interval
from isosweep.rendering import camera_paths
from isosweep.training.step import part_of
from isosweep.types import Batch, Cameras, Ndc, Sightings
from tests.support.analytic import SphereModel, sphere_scene
from tests.support.captures import tiny_colmap
from tests.support.loading import load_scene


def poses(*centres: tuple[float, float, float]) -> np.ndarray:
    return np.stack([np.column_stack([np.eye(3), c]) for c in centres])


def test_half_the_distance_of_the_nearest_percent_of_what_a_view_sees() -> None:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(1000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    first = 4.0 * directions
    first[:5] *= 0.01  # half a percent is wrong
    second = np.array([0.0, 0.0, 10.0]) + 6.0 * directions[:FEW]
    alone = np.array([[0.0, 0.0, 20.1]])
    points = torch.tensor(np.concatenate([first, second, alone]), dtype=torch.float32)
    seen = torch.cat([torch.arange(1000), torch.arange(1000, 1000 + FEW), torch.tensor([1000 + FEW])])
    offsets = torch.tensor([0, 1000, 1000 + FEW, 1001 + FEW])
    c2w = poses((0, 0, 0), (0, 0, 10), (0, 0, 20))
    near = near_of(c2w, points, Sightings(seen, offsets))
    assert near is not None
    assert near.tolist() == pytest.approx([2.0, 3.0, 2.0], rel=1e-5), "the last view sees one point"


def test_nothing_is_known_without_points_or_without_what_each_view_sees() -> None:
    points, c2w = torch.rand(100, 3), poses((0, 0, -3))
    assert near_of(c2w, None, None) is None
    assert near_of(c2w, points, None) is None
    few = Sightings(torch.arange(3), torch.tensor([0, 3]))
    assert near_of(c2w, points, few) is None


def cameras(near: torch.Tensor | None) -> Cameras:
    K = torch.tensor([[40.0, 0, 16], [0, 40, 16], [0, 0, 1]]).repeat(2, 1, 1)
    c2w = torch.tensor(poses((0, 0, -3), (0, 0, 0.5)), dtype=torch.float32)
    return Cameras(c2w, K, torch.tensor([[32, 32]] * 2), 0.5, near=near)


def test_rays_begin_where_their_view_says() -> None:
    view, pixel = torch.tensor([0, 1, 0]), torch.tensor([16, 16, 2])
    rays = pixel_rays(cameras(torch.tensor([2.5, 0.2])), view, pixel, pixel, torch.zeros(3))
    assert rays.near is not None
    assert rays.near.tolist() == pytest.approx([2.5, 0.2, 2.5])
    start, _ = box_interval(rays, 1.0, near=0.05)
    assert start[:2].tolist() == pytest.approx([2.5, 0.2])
    assert float(box_interval(rays, 1.0, near=0.3)[0][1]) == pytest.approx(0.3)
    plain = pixel_rays(cameras(None), view, pixel, pixel, torch.zeros(3))
    assert plain.near is None
    assert box_interval(plain, 1.0, near=0.05)[0][:2].tolist() == pytest.approx([2.0, 0.05], abs=1e-2)
    bent = pixel_rays(
        replace(cameras(torch.tensor([2.5, 0.2])), ndc=Ndc(0.5, 0.5, 1.0)), view, pixel, pixel, torch.zeros(3)
    )
    assert bent.near is None, "the box of NDC begins at the near plane"


def test_a_part_of_a_batch_has_the_rays_own_places() -> None:
    view, pixel = torch.tensor([0, 1, 0]), torch.tensor([16, 16, 2])
    rays = pixel_rays(cameras(torch.tensor([2.5, 0.2])), view, pixel, pixel, torch.zeros(3))
    part = part_of(Batch(rays, torch.zeros(3, 3)), slice(1, 3), slice(0, 0))
    assert part.rays.near is not None
    assert part.rays.near.tolist() == pytest.approx([0.2, 2.5])


def test_cameras_of_a_video_begin_at_the_nearest_of_all() -> None:
    scene = sphere_scene(SphereModel())
    scene = replace(scene, cameras=replace(scene.cameras, near=torch.linspace(0.5, 1.0, len(scene.cameras))))
    path = camera_paths.camera_path(scene, "turntable", 4, 32)
    assert path.near is not None
    assert path.near.tolist() == [0.5] * 4


def test_a_reconstruction_tells_it(tmp_path) -> None:
    folder = tiny_colmap(tmp_path / "s")
    scene = load_scene("colmap", "s", path=str(folder))
    assert scene.points is not None
    assert scene.sightings is not None
    assert scene.cameras.near is not None
    for view in range(len(scene.cameras)):
        start, end = scene.sightings.offsets[view : view + 2].tolist()
        seen = scene.points[scene.sightings.point[start:end]]
        away = (seen - scene.cameras.c2w[view, :, 3]).norm(dim=1)
        assert float(scene.cameras.near[view]) < float(away.min())
        assert float(scene.cameras.near[view]) > 0.3 * float(away.min())


def test_cameras_take_it_along_to_another_device() -> None:
    moved = cameras(torch.tensor([2.5, 0.2])).to("meta")
    assert moved.near is not None
    assert moved.near.device.type == "meta"
    assert cameras(None).to("meta").near is None
