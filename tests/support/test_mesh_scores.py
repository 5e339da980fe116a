"""The decoding of the chair's normals, by hand and against the cameras that saw them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from isosweep import geometry
from isosweep.evaluation import image_metrics
from tests.support.loading import load_scene
from tests.support.mesh_scores import decode_normals, truth_normals


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
    angle = image_metrics.normal_angle(torch.from_numpy(decoded), torch.from_numpy(normal), right)
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
