"""Frames, boxes and rotations that a browser gets."""

import numpy as np
import pytest
import torch

from isosweep.viewer import things
from tests.support.analytic import SphereModel, sphere, sphere_scene


class Scene3D:
    """Keeps what it is told to draw, in place of viser."""

    def __init__(self) -> None:
        self.drawn: dict[str, dict] = {}

    def add_camera_frustum(self, name: str, **what: object) -> str:
        self.drawn[name] = what
        return name

    def add_mesh_trimesh(self, name: str, mesh, **what: object) -> str:
        self.drawn[name] = {"mesh": mesh}
        return name


def test_a_quaternion_by_hand() -> None:
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # 90 degrees about z
    np.testing.assert_allclose(things.quaternion(turn), [np.sqrt(0.5), 0, 0, np.sqrt(0.5)], atol=1e-12)
    np.testing.assert_allclose(things.rotation(np.array(things.quaternion(turn))), turn, atol=1e-12)


def test_a_box_has_twelve_edges_along_the_axes() -> None:
    found = things.edges(((0.0, 0.0, 0.0), (1.0, 2.0, 3.0)))
    assert found.shape == (12, 2, 3)
    sides = np.abs(found[:, 1] - found[:, 0])
    assert sorted(sides.max(axis=1)) == [1.0] * 4 + [2.0] * 4 + [3.0] * 4
    assert ((sides > 0).sum(axis=1) == 1).all()
    assert len({tuple(map(tuple, edge)) for edge in found}) == 12


def test_windows_begin_behind_a_training_view_and_turn_about_the_middle() -> None:
    scene = sphere_scene(SphereModel())
    look = things.first_look(scene)
    view = scene.splits["train"][len(scene.splits["train"]) // 2]
    there = scene.cameras.c2w[view].numpy()
    np.testing.assert_allclose(look.c2w[:, :3], there[:, :3], atol=1e-7)
    np.testing.assert_allclose(look.c2w[:, 3], 1.25 * there[:, 3], atol=1e-6)  # a step back from the middle
    assert look.fov == 2 * np.arctan(16 / 40)  # 32 rows, focal length 40
    np.testing.assert_allclose(things.target(look), np.zeros(3), atol=1e-6)
    up = things.up_of(scene)
    assert np.linalg.norm(up) == np.float64(1.0) or abs(np.linalg.norm(up) - 1) < 1e-12
    assert up[2] > 0.9


def test_training_cameras_have_their_photographs() -> None:
    scene, api = sphere_scene(SphereModel(), hw=(96, 128)), Scene3D()
    assert len(things.add_cameras(api, scene)) == len(scene.splits["train"])
    one = api.drawn["/cameras/0"]
    assert one["image"].shape == (48, 64, 3)
    assert (one["aspect"], one["scale"]) == (128 / 96, pytest.approx(0.15))  # 0.05 of the distance 3
    np.testing.assert_allclose(one["position"], scene.cameras.c2w[0, :, 3].numpy(), atol=1e-6)
    torch.testing.assert_close(
        torch.tensor(things.rotation(np.array(one["wxyz"]))),
        scene.cameras.c2w[0, :, :3].double(),
        atol=1e-6,
        rtol=0,
    )


def test_a_mesh_without_colours_is_grey() -> None:
    api = Scene3D()
    things.add_mesh(api, sphere(subdivisions=1))
    assert api.drawn["/mesh"]["mesh"].visual.vertex_colors[0].tolist() == [178, 178, 178, 255]
