"""Warnings about a box that does not fit its cameras and points, and about intrinsics that no lens has."""

from dataclasses import replace

import pytest
import torch

from isosweep.data.checks import region_lines
from isosweep.types import Ndc, Scene
from tests.support.analytic import SphereModel, sphere_scene


def scene(**changes: object) -> Scene:
    return sphere_scene(SphereModel(0.5), **changes)


def with_K(change) -> Scene:
    made = scene()
    K = made.cameras.K.clone()
    change(K)
    return replace(made, cameras=replace(made.cameras, K=K))


def test_a_scene_as_it_should_be_has_none() -> None:
    assert region_lines(scene(points=0.5 * torch.rand(100, 3))) == []


def test_cameras_inside_the_box_are_counted() -> None:
    made = scene()
    c2w = made.cameras.c2w.clone()
    c2w[1, :, 3] = torch.tensor([0.2, 0.9, -0.9])
    c2w[5, :, 3] = 0.0  # a test view
    (line,) = region_lines(replace(made, cameras=replace(made.cameras, c2w=c2w)))
    assert line.startswith("1 of 4 cameras of analytic scene ball stand inside the box")
    assert "dataset.scale" in line


def test_a_box_that_holds_few_of_the_points_is_told() -> None:
    points = torch.cat([torch.zeros(20, 3), torch.full((80, 3), 5.0)])
    (line,) = region_lines(scene(points=points))
    assert "holds 20% of the structure-from-motion points" in line
    assert "dataset.radius" in line
    assert region_lines(scene(points=torch.cat([torch.zeros(40, 3), torch.full((60, 3), 5.0)]))) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda K: K[0, 1, 1].mul_(1.2), "1 have focal lengths along x and y that differ"),
        (lambda K: K[:, 0, 2].zero_(), "4 have a principal point far from the middle"),
        (lambda K: K[:, :2, :2].mul_(100), "4 have a field of view below 5 or above 150 degrees"),
        (lambda K: K[:, :2, :2].mul_(0.01), "4 have a field of view below 5 or above 150 degrees"),
    ],
)
def test_intrinsics_that_no_lens_has_are_told(change, words: str) -> None:
    (line,) = region_lines(with_K(change))
    assert words in line
    assert "scripts/prepare.py --focal" in line


def test_ndc_has_a_box_of_its_own() -> None:
    made = scene(points=torch.full((80, 3), 5.0))
    assert region_lines(replace(made, cameras=replace(made.cameras, ndc=Ndc(1.0, 1.0, 1.0)))) == []
