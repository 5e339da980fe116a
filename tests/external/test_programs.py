"""The methods that run anywhere: the visual hull, and a Poisson surface through triangulated points."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from isosweep.config.method_settings import PrepareSettings
from isosweep.data.decode import read_mask
from isosweep.data.neus import read_cameras
from isosweep.errors import InputError
from isosweep.external.layout import prepare
from isosweep.external.programs import poisson, visual_hull
from isosweep.meshes import raycast
from isosweep.meshes.files import read_mesh
from isosweep.types import Scene

RESOLUTION = 40


@pytest.fixture(scope="module")
def data(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hull")
    prepare(scene, PrepareSettings(layout="neus", masks=True, test_views=False), folder)
    return folder


def test_the_hull_holds_the_object_and_has_its_silhouettes(data: Path, mug: Path) -> None:
    cameras, _, files = read_cameras(data)
    masks = [read_mask(file).astype(np.float32) / 255 for file in files]
    mesh = visual_hull.hull(cameras, masks, RESOLUTION)
    inside = read_mesh(mug / "data.ply").vertices
    cell = 2 / RESOLUTION
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    assert (inside > low - cell).all()
    assert (inside < high + cell).all()
    caster = raycast.Caster(mesh)
    found = raycast.silhouette_iou(caster, cameras, [mask > 0.5 for mask in masks], list(range(len(masks))))
    assert np.mean([value for value in found if value is not None]) > 0.93
    with pytest.raises(InputError, match="no point of the box lies within all masks"):
        visual_hull.hull(cameras, [np.zeros_like(mask) for mask in masks], 8)
    spoilt = [np.zeros_like(masks[0]), *masks[1:]]
    assert len(visual_hull.hull(cameras, spoilt, 16, tolerance=0.2).faces)


def test_the_hulls_program_says_what_is_wrong_in_a_line(
    data: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    def ends(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["visual_hull", "--out", str(tmp_path), *arguments])
        return visual_hull.main()

    assert ends("--data", str(tmp_path / "nothing")) == 1
    assert "is no scene in NeuS' layout" in capsys.readouterr().err
    assert ends("--data", str(data), "--resolution", "1") == 1
    assert ends("--data", str(data), "--resolution", "16") == 0
    assert "view 8/8" in capsys.readouterr().out
    assert len(read_mesh(tmp_path / "mesh.ply").faces)


def ball(count: int) -> np.ndarray:
    """Points on a sphere of radius 0.5, evenly."""
    height = np.linspace(-1, 1, count)
    turn = np.pi * (1 + 5**0.5) * np.arange(count)
    ring = np.sqrt(1 - height**2)
    return 0.5 * np.stack([ring * np.cos(turn), ring * np.sin(turn), height], -1)


EYES = 3 * np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])


@pytest.mark.skipif(importlib.util.find_spec("open3d") is not None, reason="open3d is here")
def test_without_open3d_the_surface_says_what_to_install() -> None:
    with pytest.raises(InputError, match="method=poisson needs open3d, which is not installed"):
        poisson.surface(ball(100), EYES, 5, 10, 0.0, 1.0)


def test_the_surface_through_a_ball_is_a_ball() -> None:
    pytest.importorskip("open3d")
    mesh = poisson.surface(ball(2000), EYES, 5, 10, 0.0, 1.0)
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.5).max() < 0.03
    with pytest.raises(InputError, match="a surface needs 50"):
        poisson.surface(ball(40), EYES, 5, 10, 0.0, 1.0)
