"""Cameras of windows, layers and depths, with numbers worked by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from isosweep import geometry
from isosweep.viewer import layers, looks
from tests.support.analytic import orbit
from tests.viewer.doubles import from_the_side


def test_a_picture_has_the_shape_of_its_window_and_its_field_of_view() -> None:
    look = from_the_side(hw=(600, 900))
    assert looks.size((600, 900), 48) == (32, 48)
    assert looks.size((3, 900), 48) == (1, 48)  # never nothing
    one = looks.camera(look, 48, orbit(2))
    # 16 pixels above the centre with tan = 1 / 3: f = 48; the same for the width, for square pixels
    torch.testing.assert_close(one.K[0], torch.tensor([[48.0, 0, 24], [0, 48, 16], [0, 0, 1]]))
    assert one.hw.tolist() == [[32, 48]]
    zero = torch.zeros(1, dtype=torch.long)
    # its right edge sees tan = 24 / 48, its lower edge 16 / 48: half a pixel further than the last centres
    rays = geometry.pixel_rays(one, zero, zero + 31.5, zero + 47.5, torch.ones(3))
    x, y, z = (torch.tensor(look.c2w[:, :3].T, dtype=torch.float32) @ rays.dirs[0]).tolist()
    assert (x / z, y / z) == (pytest.approx(0.5), pytest.approx(1 / 3))


def test_the_nearest_near_distance_is_safe_between_the_photographs() -> None:
    cameras = replace(orbit(3), near=torch.tensor([2.0, 0.5, 1.0]))
    assert looks.camera(from_the_side(), 8, cameras).near.tolist() == [0.5]
    assert looks.camera(from_the_side(), 8, orbit(3)).near is None


def test_a_look_moves_to_another_frame_and_keeps_its_axes() -> None:
    # x -> 2 R x + (1, 0, 0), where R takes x to y and y to -x: the eye (3, 0, 0) comes to (1, 6, 0)
    matrix = np.array([[0.0, -2, 0, 1], [2, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    moved = looks.moved(from_the_side(), matrix)
    np.testing.assert_allclose(moved.c2w[:, 3], [1, 6, 0], atol=1e-12)
    np.testing.assert_allclose(moved.c2w[:, 2], [0, -1, 0], atol=1e-12)  # it looked along -x
    np.testing.assert_allclose(moved.c2w[:, :3].T @ moved.c2w[:, :3], np.eye(3), atol=1e-12)


def test_two_looks_are_the_same_if_nothing_moved() -> None:
    one = from_the_side()
    assert one.same(from_the_side())
    assert not one.same(from_the_side(0.01))
    assert not one.same(from_the_side(hw=(64, 97)))
    assert not one.same(None)


def test_the_layers_are_those_that_the_model_has() -> None:
    assert layers.layers_of({"rgb", "opacity"}) == ("rgb", "depth", "opacity")
    assert layers.layers_of({"normal"}) == ("rgb", "depth", "normal", "opacity")
    assert layers.layers_of({"levels.background.rgb"}) == ("rgb", "depth", "opacity", "background")


def maps(opacity: float, depth: float, **more: np.ndarray) -> dict[str, np.ndarray]:
    shape = (2, 2, 1)
    found = {
        "opacity": np.full(shape, opacity),
        "depth": np.full(shape, depth),
        "rgb": np.full((2, 2, 3), 0.2),
    }
    return found | more


def test_pictures_of_layers_by_hand() -> None:
    blue = np.tile([0.0, 0.0, 1.0], (2, 2, 1))
    one, other = maps(1.0, 1.0, normal=blue, background=blue), maps(0.25, 3.0)
    drawn = {name: layers.picture([one, other], name) for name in layers.LAYERS}
    assert all(image.shape == (2, 4, 3) and image.dtype == np.uint8 for image in drawn.values())
    assert drawn["rgb"][0, 0].tolist() == [51, 51, 51]
    assert drawn["opacity"][0].tolist() == [[255] * 3] * 2 + [[64] * 3] * 2
    assert drawn["normal"][0, 0].tolist() == [128, 128, 255]  # n / 2 + 1 / 2
    assert drawn["normal"][0, 3].tolist() == [217] * 3  # grey: the other model has none
    assert drawn["background"][0, 0].tolist() == [0, 0, 255]
    assert drawn["depth"][0, 3].tolist() == [255] * 3  # white: nothing was met


def test_depths_side_by_side_have_one_scale() -> None:
    near, far = maps(1.0, 1.0), maps(1.0, 3.0)
    assert layers.depth_bounds([near, far]) == (1.0, 3.0)
    assert layers.depth_bounds([maps(0.1, 1.0)]) is None
    left, right = np.split(layers.picture([near, far], "depth"), 2, axis=1)
    assert left[0, 0].tolist() != right[0, 0].tolist()
    alone = layers.picture([far], "depth")
    assert alone[0, 0].tolist() == left[0, 0].tolist()  # by itself it would be the nearest


def test_depth_along_the_axis() -> None:
    fov = 2 * math.atan(1.0)  # rows at -1/2 and 1/2; columns, with an aspect of 2, at -1 and 1
    found = layers.axial_depth(maps(1.0, 3.0), fov, 2.0, far=50.0)
    np.testing.assert_allclose(found[..., 0], 3.0 / math.sqrt(1 + 0.25 + 1.0))
    np.testing.assert_allclose(layers.axial_depth(maps(0.0, 3.0), fov, 2.0, far=50.0), 50.0)
