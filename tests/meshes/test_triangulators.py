"""The packages behind ``export.marching_cubes``, on a ball and on an ellipsoid that no two axes share."""

import importlib.util
import math

import numpy as np
import pytest
from torch import Tensor

from isosweep.evaluation import surface_metrics
from isosweep.meshes import marching_cubes, triangulators
from isosweep.meshes.triangulators import TRIANGULATORS, triangulator
from isosweep.types import Mesh


def installed(name: str) -> str:
    """The name, in a test that is skipped where its package cannot be imported (Open3D also needs libusb)."""
    _, module, package = TRIANGULATORS[name]
    pytest.importorskip(module, reason=f"{package} is not installed, or cannot load", exc_type=ImportError)
    return name


def ball(points: Tensor) -> Tensor:
    return points.norm(dim=-1) - 0.5


def ellipsoid(points: Tensor) -> Tensor:
    """Half axes 0.2, 0.4 and 0.6 about (0.3, 0.1, -0.2)."""
    place = (points - points.new_tensor([0.3, 0.1, -0.2])) / points.new_tensor([0.2, 0.4, 0.6])
    return place.norm(dim=-1) - 1


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("name", TRIANGULATORS)
@pytest.mark.parametrize("block", [64, 20])
def test_a_ball_is_closed_outward_and_in_place(name: str, block: int) -> None:
    mesh = marching_cubes.extract(ball, 1.0, 60, block, marching_cubes=installed(name))
    assert surface_metrics.topology_scores(mesh)[0] == {"geometry/components": 1.0, "geometry/genus": 0.0}
    assert volume(mesh) == pytest.approx(4 / 3 * math.pi / 8, rel=0.01)  # positive: outward
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.5).max() < 2e-3


@pytest.mark.parametrize("name", TRIANGULATORS)
def test_no_axis_is_another(name: str) -> None:
    mesh = marching_cubes.extract(ellipsoid, 1.0, 60, 25, marching_cubes=installed(name))
    np.testing.assert_allclose(mesh.vertices.min(0), [0.1, -0.3, -0.8], atol=0.02)
    np.testing.assert_allclose(mesh.vertices.max(0), [0.5, 0.5, 0.4], atol=0.02)
    assert volume(mesh) == pytest.approx(4 / 3 * math.pi * 0.2 * 0.4 * 0.6, rel=0.02)


@pytest.mark.parametrize(("name", "package"), [("mcubes", "PyMCubes"), ("open3d", "open3d")])
def test_without_its_package(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triangulators.importlib.util, "find_spec", lambda module: None)
    words = rf"^export.marching_cubes={name} needs {package}, which is not .*: pip install {package}; skimage needs no"
    with pytest.raises(ValueError, match=words):
        triangulator(name)


def test_a_name_that_is_none() -> None:
    with pytest.raises(ValueError, match="one of skimage, mcubes, open3d, found 'vtk'"):
        triangulator("vtk")
    assert importlib.util.find_spec("skimage")
    assert triangulator("skimage") is TRIANGULATORS["skimage"][0]
