"""Colour maps, grids and shaded meshes, by their pixels."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from isosweep.config.settings import DEPTH_COLORS
from isosweep.rendering import pictures


def test_png_is_read_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    image = np.zeros((2, 3, 3))
    image[0, 1] = [1.0, 0.5, -1.0]
    image[1, 2] = [2.0, np.nan, 0.2]
    path = pictures.write_png(tmp_path / "a" / "b.png", image)
    read = np.asarray(PIL.Image.open(path))
    assert read.shape == (2, 3, 3)
    assert read[0, 1].tolist() == [255, 128, 0]
    assert read[1, 2].tolist() == [255, 0, 51]
    assert [p.name for p in path.parent.iterdir()] == ["b.png"]


def test_depth_is_brighter_where_it_is_near_and_white_outside() -> None:
    depth = np.array([[1.0, 2.0, 3.0, np.inf, 9.0]])
    inside = np.array([[True, True, True, True, False]])
    image = pictures.depth_picture(depth, inside)
    light = image.sum(axis=-1)[0]
    assert light[0] > light[1] > light[2]
    assert light[3] == light[4] == 3.0
    assert (pictures.depth_picture(depth, inside & False) == 1).all()
    same = pictures.depth_picture(np.ones((2, 2)), np.ones((2, 2), dtype=bool))
    assert np.isfinite(same).all()
    fixed = pictures.depth_picture(depth, inside, (0.0, 6.0))
    np.testing.assert_allclose(
        fixed[0, 2], pictures.depth_picture(np.array([[3.0]]), np.ones((1, 1), bool), (0, 6))[0, 0]
    )


@pytest.mark.parametrize(
    ("colors", "near", "far"),
    [  # the ends of each map, 8 bit
        ("viridis", [253, 231, 37], [68, 1, 84]),
        ("turbo", [122, 4, 3], [48, 18, 59]),
        ("jet", [128, 0, 0], [0, 0, 128]),
        ("magma", [252, 253, 191], [0, 0, 4]),
        ("grey", [255, 255, 255], [0, 0, 0]),
    ],
)
def test_depth_has_the_colours_that_are_asked_for(colors: str, near: list[int], far: list[int]) -> None:
    image = pictures.depth_picture(np.array([[1.0, 2.0]]), np.ones((1, 2), bool), (1.0, 2.0), colors)
    assert np.rint(255 * image[0]).tolist() == [near, far]
    assert set(pictures.COLOR_MAPS) == set(DEPTH_COLORS)


def test_normals_fade_into_white() -> None:
    normal = np.array([[[0, 0, 1.0], [0, 0, 0], [1.0, 0, 0]]])
    image = pictures.normal_picture(normal, np.array([[1.0, 0.0, 0.5]]))
    np.testing.assert_allclose(image[0], [[0.5, 0.5, 1.0], [1, 1, 1], [1.0, 0.75, 0.75]])


def test_grid_centres_images_of_different_sizes() -> None:
    a, b = np.zeros((2, 2, 3)), np.zeros((4, 6, 3))
    out = pictures.grid([[a, b], [b]], gap=2)
    assert out.shape == (4 + 2 + 4, 6 + 2 + 6, 3)
    assert (out[1:3, 2:4] == 0).all()
    assert (out[0][:6] == 1).all()
    assert (out[6:, 8:] == 1).all()
    headed = pictures.grid([[b, b]], ["truth", "render"])
    assert headed.shape[0] == 4 + 16
    assert headed[:16].min() < 0.3
