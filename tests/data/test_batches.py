import dataclasses

import pytest
import torch

from isosweep.data.batches import Targets, draw, has_points
from isosweep.types import Sightings
from tests.support.analytic import SphereModel, sphere_scene

CPU = torch.device("cpu")


def batch(background="random", crop=0.0, n=400, **changes):
    scene = sphere_scene(SphereModel(), **changes)
    return draw(scene, n, background, crop, torch.Generator().manual_seed(0), CPU), scene


def test_pixels_are_composited_over_the_colour_their_ray_carries():
    b, _ = batch()
    assert b.mask is not None
    empty = b.mask == 0
    assert empty.any()
    torch.testing.assert_close(b.rgb[empty], b.rays.background[empty])
    assert b.rays.background.std() > 0.2
    white, _ = batch("white")
    torch.testing.assert_close(white.rays.background, torch.ones(400, 3))


def test_a_random_background_would_leak_masks_that_training_must_not_see():
    b, scene = batch(use_masks=False)
    assert b.mask is None
    torch.testing.assert_close(b.rays.background, scene.background.expand(400, 3))


def test_whole_photographs_are_not_composited():
    b, scene = batch("white", composite=False, use_masks=False)
    torch.testing.assert_close(b.rays.background, scene.background.expand(400, 3))
    assert b.rgb.max() <= 1


def test_the_crop_keeps_to_the_middle():
    b, _ = batch(crop=0.1)
    assert b.mask is not None
    assert b.mask.mean() > 0.95  # the sphere is in the middle of every view


def pointed(**changes):
    """Four views: the first sees points 0 and 1, the second point 1, the third none; point 2 is outside."""
    points = torch.tensor([[0.1, 0, 0], [0.2, 0, 0], [5.0, 0, 0], [0.4, 0, 0]])
    seen = Sightings(torch.tensor([0, 1, 2, 1, 2, 3]), torch.tensor([0, 3, 5, 5, 6, 6, 6]))
    _, scene = batch(points=points, sightings=seen, **changes)
    return scene


def test_points_are_those_that_the_views_of_the_rays_see():
    scene = pointed()
    targets = Targets(scene, CPU)
    g = torch.Generator().manual_seed(0)
    first = targets.draw(torch.zeros(10, dtype=torch.long), 2000, g)[:, 0]
    assert first.unique().tolist() == pytest.approx([0.1, 0.2])
    assert (first < 0.15).float().mean() == pytest.approx(0.5, abs=0.05)
    assert targets.draw(torch.ones(10, dtype=torch.long), 20, g)[:, 0].unique().tolist() == pytest.approx(
        [0.2]
    )
    assert len(targets.draw(torch.full((10,), 2), 20, g)) == 0
    # a view weighs as its rays do: half the draws are of view 3
    both = targets.draw(torch.tensor([3, 1]), 2000, g)[:, 0]
    assert (both > 0.3).float().mean() == pytest.approx(0.5, abs=0.05)
    b = draw(scene, 64, "dataset", 0.0, g, CPU, targets, 32)
    assert b.points is not None
    assert b.points.shape[1] == 3
    assert draw(scene, 64, "dataset", 0.0, g, CPU).points is None


def test_points_without_views_are_anyones_and_points_outside_are_none():
    scene = pointed()
    anyone = dataclasses.replace(scene, sightings=None)
    drawn = Targets(anyone, CPU).draw(torch.tensor([2]), 200, torch.Generator().manual_seed(0))
    assert drawn[:, 0].unique().tolist() == pytest.approx([0.1, 0.2, 0.4])
    assert has_points(scene)
    assert not has_points(dataclasses.replace(scene, points=scene.points + 9))
    assert not has_points(dataclasses.replace(scene, points=None))
    assert not has_points(dataclasses.replace(scene, splits={"train": (2,), "test": (2,)}))
    with pytest.raises(ValueError, match="no structure-from-motion points inside its box"):
        Targets(dataclasses.replace(scene, points=None), CPU)
