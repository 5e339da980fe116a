"""Which training view stands in for a view."""

import math

import torch

from isosweep.data.stand_ins import stand_ins, with_stand_ins
from isosweep.geometry import pixel_rays
from tests.support.analytic import SphereModel, sphere_scene


def looking(x: float, degrees: float = 0.0) -> list[list[float]]:
    """A camera at (x, 0, 0) that looks along z, turned about y."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[c, 0.0, s, x], [0.0, 1.0, 0.0, 0.0], [-s, 0.0, c, 0.0]]


def test_the_nearest_training_view_counts_and_turning_counts_as_going():
    # training cameras at -1 and 1: their spread is 1
    c2w = torch.tensor([looking(-1.0), looking(1.0), looking(0.2), looking(-0.3), looking(0.2, 60.0)])
    assert stand_ins(c2w, torch.tensor([0, 1])).tolist() == [0, 1, 1, 0, 1]
    # 0.8 + 60 degrees (1.047) to the second, and 1.2 + 10 degrees (0.175) to the first, which is turned by 50
    turned = torch.tensor([looking(-1.0, 50.0), looking(1.0), looking(0.2, 60.0)])
    assert stand_ins(turned, torch.tensor([0, 1])).tolist() == [0, 1, 0]


def test_a_training_view_has_itself_also_where_another_stands_in_its_place():
    c2w = torch.tensor([looking(0.0), looking(0.0), looking(2.0)])
    assert stand_ins(c2w, torch.tensor([1, 0])).tolist()[:2] == [0, 1]


def test_rays_of_a_view_are_those_of_its_stand_in():
    scene = sphere_scene(SphereModel(0.5))
    ready = with_stand_ins(scene)
    held = next(v for v in range(len(scene.cameras)) if v not in scene.splits["train"])
    pixel = torch.zeros(2, dtype=torch.long)
    rays = pixel_rays(
        ready.cameras.to("cpu"), torch.tensor([held, scene.splits["train"][0]]), pixel, pixel, torch.ones(3)
    )
    assert ready.cameras.stand_in is not None
    assert rays.view is not None
    assert rays.view.tolist() == [int(ready.cameras.stand_in[held]), scene.splits["train"][0]]
    assert pixel_rays(scene.cameras, pixel, pixel, pixel, torch.ones(3)).view is None
