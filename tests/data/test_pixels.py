import pytest
import torch

from isosweep.data.pixels import draw
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


def test_an_unknown_background_lists_the_choices():
    with pytest.raises(ValueError, match="one of random, white, black, dataset, found 'grey'"):
        batch("grey")
