"""The decoding of the chair's normals, by hand and against the cameras that saw them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from isosweep import geometry
from isosweep.meshes import raycast
from tests.support.loading import load_scene
from tests.support.mesh_scores import (
    decode_normals,
    depth_differences,
    intersection_over_union,
    normal_angle,
    truth_depth,
    truth_normals,
)


def encode(normal: np.ndarray) -> np.ndarray:
    x = normal.clip(0, 1)
    s = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return (255 * s).round().astype(np.uint8)


def test_normals_with_at_most_one_negative_component_come_back() -> None:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(50, 60, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    decoded, known = decode_normals(encode(normal))
    clear = (np.abs(normal) > 0.1).all(axis=-1)
    np.testing.assert_array_equal(known[clear], ((normal < 0).sum(axis=-1) <= 1)[clear])
    right = torch.from_numpy((known & clear).astype(float))
    angle = normal_angle(torch.from_numpy(decoded), torch.from_numpy(normal), right)
    assert angle.value is not None
    assert angle.value < 1.0


def test_the_chairs_normals_face_the_cameras(shared_data: Path) -> None:
    folder = shared_data / "blender_chair"
    scene = load_scene("blender", "chair", path=str(folder), cache=False)
    facing, counted, covered = 0, 0, 0
    for view in scene.splits["test"][::10]:
        normal, known = truth_normals(scene, folder, view)
        row, col = np.nonzero(known)
        at = torch.full((len(row),), view)
        rays = geometry.pixel_rays(
            scene.cameras, at, torch.from_numpy(row), torch.from_numpy(col), torch.zeros(3)
        )
        facing += int(((normal[row, col] * rays.dirs.numpy()).sum(axis=-1) < 0).sum())
        counted += len(row)
        mask = scene.images.image(view)[1]
        assert mask is not None
        covered += int((mask > 0.999).sum())
    assert facing / counted > 0.97
    assert counted / covered == pytest.approx(0.6, abs=0.25)


def test_normal_angle_by_hand() -> None:
    truth = torch.zeros(1, 4, 3)
    truth[..., 2] = 1.0
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    pred = torch.tensor([[[0, 0, 2.0], [s, 0, c], [0, 1.0, 0], [0, 0, 0]]])
    assert normal_angle(pred, truth).value == pytest.approx((0 + 30 + 90 + 90) / 4, abs=1e-4)
    assert normal_angle(pred, truth, torch.tensor([[1.0, 1, 0, 0]])).value == pytest.approx(15, abs=1e-4)
    assert normal_angle(-truth, truth).value == pytest.approx(180, abs=1e-4)
    assert normal_angle(pred, truth, torch.zeros(1, 4)).value is None


def test_intersection_over_union_by_hand() -> None:
    a, b = torch.zeros(4, 4), torch.zeros(4, 4)
    a[:2], b[1:3] = 1.0, 0.8  # rows 0-1 and 1-2: 4 of 12
    assert intersection_over_union(a, b).value == pytest.approx(1 / 3)
    assert intersection_over_union(a * 0, b * 0) == (None, "both silhouettes are empty")


def test_depth_differences_by_hand() -> None:
    mesh, truth = np.array([2.0, 2.05, 1.5, np.inf, 9.0]), np.array([2.0, 2.0, 2.0, 2.0, 2.0])
    counts = np.array([True, True, True, True, False])
    np.testing.assert_allclose(depth_differences(mesh, truth, counts), [0.0, 0.05, -0.1, 0.1])


def test_photographs_agree_on_the_chairs_depths(shared_data: Path) -> None:
    """The points of the depth maps have the same colours in neighbouring views, more than points off the surface."""
    folder = shared_data / "blender_chair"
    scene = load_scene("blender", "chair", path=str(folder), cache=False)
    cameras = raycast.world_cameras(scene.cameras, scene.to_world)
    centres, axes = cameras.c2w[:, :, 3].numpy(), cameras.c2w[:, :, 2].numpy()
    test = list(scene.splits["test"])
    shifts = (-0.06, 0.0, 0.06)
    differences = np.zeros(len(shifts))
    for view in test[::7]:
        depth, counts = truth_depth(scene, folder, view)
        _, rays = raycast.camera_rays(cameras, view)
        rays = (rays / (rays @ axes[view])[:, None])[counts.ravel()]
        colors = scene.images.image(view)[0].numpy()[counts]
        beside = sorted(test, key=lambda other: np.linalg.norm(centres[other] - centres[view]))[1:3]
        for other in beside:
            there, known = truth_depth(scene, folder, other)
            photo = scene.images.image(other)[0].numpy()
            for k, shift in enumerate(shifts):
                points = centres[view] + rays * (depth[counts] + shift)[:, None]
                row, col, seen = raycast.project(cameras, other, points)
                in_front = (points - centres[other]) @ axes[other] < there[row, col] + 0.1
                seen &= known[row, col] & in_front
                away = np.abs(photo[row, col] - colors)[seen].mean(axis=-1)
                differences[k] += np.median(away)
    assert differences[1] < 0.92 * min(differences[0], differences[2])
