"""Rays whose distance is known: the pixels at which views saw points, checked by unprojecting them."""

import dataclasses

import pytest
import torch

from isosweep.data.batches import add_point_rays, draw
from isosweep.data.image_store import ImageStore
from isosweep.data.point_rays import PointRays, observations
from isosweep.geometry import pixel_rays
from isosweep.types import DISTANCE, Ndc, Scene, Sightings
from tests.support.analytic import SphereModel, sphere_scene

CPU = torch.device("cpu")


def seen(*by_view: list[int]) -> Sightings:
    offsets = torch.tensor([len(points) for points in by_view]).cumsum(0)
    return Sightings(
        torch.tensor([p for points in by_view for p in points]), torch.cat([torch.zeros(1), offsets]).long()
    )


def scene_with(points: torch.Tensor, *by_view: list[int]) -> Scene:
    scene = sphere_scene(SphereModel())
    rest: list[list[int]] = [[] for _ in range(len(scene.cameras) - len(by_view))]
    return dataclasses.replace(scene, points=points, sightings=seen(*by_view, *rest))


POINTS = torch.tensor([[0.1, 0.0, 0.05], [0.2, -0.1, 0.0], [9.0, 0.0, 0.0]])


def test_a_pixel_leads_to_the_point_that_it_saw():
    scene = scene_with(POINTS, [0, 1, 2], [1])
    found = observations(scene)
    assert found is not None
    view, row, col, distance, start, count = found
    assert view.tolist() == [0, 0, 1]  # the third point lies outside the box
    assert start.tolist() == [0, 2]
    assert count.tolist() == [2, 1]
    rays = pixel_rays(scene.cameras, view, row, col, scene.background)
    reached = rays.origins + distance[:, None] * rays.dirs
    # half a pixel at that distance
    pixel = float(distance.max() / scene.cameras.K[0, 0, 0])
    assert float((reached - POINTS[[0, 1, 1]]).norm(dim=1).max()) < 0.75 * pixel


def test_what_a_view_cannot_see_is_no_observation():
    scene = scene_with(POINTS, [0])
    behind = dataclasses.replace(scene, points=2 * scene.cameras.c2w[0, :, 3].repeat(3, 1), radius=99.0)
    assert observations(behind) is None
    # the corner of the box from the first camera's side lies beside its picture
    cameras = dataclasses.replace(scene.cameras, hw=torch.ones_like(scene.cameras.hw))
    assert observations(dataclasses.replace(scene, cameras=cameras)) is None


def test_a_pixel_to_ignore_leads_to_no_point():
    scene = scene_with(POINTS, [0, 1], [1])
    found = observations(scene)
    assert found is not None
    view, row, col, *_ = found
    height, width = scene.cameras.hw[0].tolist()
    pixels = torch.full((len(scene.cameras), height, width, 4), 255, dtype=torch.uint8)
    pixels[view[0], row[0], col[0], 3] = 0
    images = ImageStore(pixels.reshape(-1, 4), scene.cameras.hw.cpu(), False, ignores=True)
    found = observations(dataclasses.replace(scene, images=images))
    assert found is not None
    assert torch.stack(found[:3]).tolist() == torch.stack([view, row, col])[:, 1:].tolist()


def test_without_sightings_or_in_ndc_nothing_is_known():
    scene = scene_with(POINTS, [0])
    warped = dataclasses.replace(scene.cameras, ndc=Ndc(1.0, 1.0, 1.0))
    for changes in ({"sightings": None}, {"points": None}, {"cameras": warped}, {"splits": {"train": (3,)}}):
        assert observations(dataclasses.replace(scene, **changes)) is None
    with pytest.raises(ValueError, match="no view that is known to see a point inside its box"):
        PointRays(dataclasses.replace(scene, sightings=None))


def test_each_view_is_drawn_as_often_whatever_it_saw():
    scene = scene_with(POINTS, [0, 1], [1])
    known = PointRays(scene)
    view, _, _, distance = known.draw(4000, torch.Generator().manual_seed(0))
    assert (view == 0).float().mean() == pytest.approx(0.5, abs=0.03)
    assert len(distance[view == 0].unique()) == 2
    nearer = distance[view == 0] == distance[view == 0].min()
    assert nearer.float().mean() == pytest.approx(0.5, abs=0.04)


def test_the_rays_are_added_behind_the_batch():
    scene = scene_with(POINTS, [0, 1], [1])
    near = dataclasses.replace(scene.cameras, near=torch.full((len(scene.cameras),), 0.5))
    scene = dataclasses.replace(scene, cameras=near)
    g = torch.Generator().manual_seed(0)
    first = draw(scene, 40, "random", 0.0, g, CPU)
    both = add_point_rays(first, scene, PointRays(scene), 0.25, "random", g, CPU)
    assert len(both.rays) == 50
    for name in ("origins", "dirs", "background", "near"):
        values = getattr(both.rays, name)
        assert len(values) == 50
        torch.testing.assert_close(values[:40], getattr(first.rays, name))
    torch.testing.assert_close(both.rgb[:40], first.rgb)
    assert both.mask is not None
    assert len(both.mask) == 50
    distance = both.ray_extras[DISTANCE]
    assert (distance[:40] == 0).all()
    assert set(distance[40:].tolist()) <= set(PointRays(scene).distance.tolist())
    # a pixel outside the object has the colour that lies behind its ray
    empty = both.mask == 0
    torch.testing.assert_close(both.rgb[empty], both.rays.background[empty])


def test_at_least_one_ray_is_added():
    scene = scene_with(POINTS, [0])
    g = torch.Generator().manual_seed(0)
    batch = add_point_rays(
        draw(scene, 3, "white", 0.0, g, CPU), scene, PointRays(scene), 0.1, "white", g, CPU
    )
    assert len(batch.rays) == 4
