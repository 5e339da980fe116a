"""Colour maps, grids and shaded meshes, by their pixels."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from isosweep.meshes import raycast
from isosweep.rendering import pictures
from isosweep.types import Mesh
from tests.support.analytic import box, orbit, sphere


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


def test_a_sphere_is_lit_from_the_camera_and_colours_come_from_its_vertices() -> None:
    cameras = raycast.world_cameras(orbit(2, hw=(40, 40), focal=50.0), np.eye(4))
    mesh = sphere(0.8, 4)
    grey = pictures.render_mesh(mesh, cameras, 0)
    assert grey.shape == (40, 40, 3)
    assert (grey[0, 0] == 1).all()
    assert grey[20, 20, 0] == pytest.approx(0.75, abs=0.02)
    assert grey[20, 20, 0] > grey[20, 10, 0]
    red = Mesh(mesh.vertices, mesh.faces, np.tile([1.0, 0, 0], (len(mesh.vertices), 1)))
    image = pictures.render_mesh(red, cameras, 0)
    assert image[20, 20, 0] == pytest.approx(1, abs=0.02)
    assert image[20, 20, 1] == 0
    assert (pictures.render_mesh(red, cameras, 0, colored=False) == grey).all()
    away = pictures.render_mesh(box(0.1, (50, 0, 0)), cameras, 0)
    assert (away == 1).all()
