"""ScanNet's export: lost frames, intrinsics of another size, and depth that gives the frame."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.loading import load_scene
from tests.support.pose_folders import (
    POSE,
    K,
    around,
    check_hand_worked,
    demo_K,
    demo_views,
    names_of,
    write_demo_view,
    write_matrix,
    write_view,
)  # fmt: skip


def tiny(folder: Path) -> Path:
    """The tiny demo as ScanNet exports it; without depth."""
    for i, (rgba, pose) in enumerate(demo_views()):
        write_demo_view(folder, f"{i}.jpg", rgba, pose, rgb="color")
    write_matrix(folder / "intrinsic" / "intrinsic_color.txt", demo_K())
    return folder


def scene_at(folder: Path, n: int = 11) -> Path:
    for i, pose in enumerate([POSE, *around(n - 1)]):
        write_view(folder, f"{i}.png", pose, rgb="color")
    write_matrix(folder / "intrinsic" / "intrinsic_color.txt", K)
    return folder


def load(folder: Path, **settings):
    return load_scene("scannet", "scene0000_00", path=str(folder), **settings)


def test_the_ray_worked_by_hand(tmp_path: Path) -> None:
    scene = load(scene_at(tmp_path))
    check_hand_worked(scene, "0.png")
    assert scene.world_unit == "m"
    assert names_of(scene, "test") == ["0.png", "8.png"]
    assert list(scene.names)[9:] == ["9.png", "10.png"]


def test_a_lost_frame_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene_at(tmp_path)
    write_matrix(tmp_path / "pose" / "3.txt", np.full((4, 4), -np.inf))
    assert "3.png" not in load(tmp_path).names
    assert "1 frames of" in caplog.text
    assert "have no pose (-inf) and are left out: 3.png" in caplog.text
    for i in range(11):
        write_matrix(tmp_path / "pose" / f"{i}.txt", np.full((4, 4), -np.inf))
    with pytest.raises(ValueError, match="none of the 11 poses"):
        load(tmp_path)


def test_intrinsics_of_larger_images(tmp_path: Path) -> None:
    """Made for 1296x968, images of 64x48: the axes are scaled by themselves."""
    folder = scene_at(tmp_path / "scene0000_00")
    large = K.copy()
    large[0, :3] *= 1296 / 64
    large[1, :3] *= 968 / 48
    write_matrix(folder / "intrinsic" / "intrinsic_color.txt", large)
    with pytest.raises(ValueError, match=r"seem to be made for images 20 times as large"):
        load(folder)
    check_hand_worked(load(folder, calibrated=[1296, 968]), "0.png")
    (folder / "scene0000_00.txt").write_text("axisAlignment = 1 0\ncolorHeight = 968\ncolorWidth = 1296\n")
    check_hand_worked(load(folder), "0.png")
    with pytest.raises(ValueError, match=r"dataset.calibrated is \[width, height\]"):
        load(folder, calibrated=[1296])


def test_depth_gives_points_and_the_frame(tmp_path: Path) -> None:
    """The hand-worked camera sees a wall at x = 1, 3 m ahead: all points have that x, and the box lies there."""
    scene_at(tmp_path, n=1)
    (tmp_path / "depth").mkdir()
    depth = np.full((48, 64), 3000, np.uint16)
    depth[0] = 0
    Image.fromarray(depth).save(tmp_path / "depth" / "0.png")
    write_matrix(tmp_path / "intrinsic" / "intrinsic_depth.txt", K)
    scene = load(tmp_path, test_every=None)
    assert scene.points is not None
    world = scene.points.double().numpy() @ scene.to_world[:3, :3].T + scene.to_world[:3, 3]
    np.testing.assert_allclose(world[:, 0], 1, atol=1e-5)
    assert scene.to_world[0, 3] == pytest.approx(1, abs=1e-6)
    low, high = world.min(0), world.max(0)
    # columns 0..63 and rows 1..47: 1 + 3 (0.5 - 32) / 50 and 2 - 3 (47.5 - 24) / 50
    assert low[1] == pytest.approx(1 - 3 * 31.5 / 50, abs=0.3)
    assert low[2] == pytest.approx(2 - 3 * 23.5 / 50, abs=0.3)
    assert high[2] == pytest.approx(2 + 3 * 22.5 / 50, abs=0.3)


def test_the_mesh_of_the_scan_is_the_truth(tmp_path: Path) -> None:
    folder = scene_at(tmp_path / "scene0000_00")
    assert load(folder).truth is None
    mesh = folder / "scene0000_00_vh_clean_2.ply"
    mesh.write_text("ply\n")
    assert load(folder).truth == mesh


@pytest.mark.parametrize("name", ["intrinsic_color.txt", "intrinsic_depth.txt"])
@pytest.mark.parametrize("value", ["1e400", "nan"])
def test_intrinsics_that_are_not_finite_are_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    scene_at(tmp_path)
    (tmp_path / "depth").mkdir()
    Image.fromarray(np.full((6, 8), 1000, np.uint16)).save(tmp_path / "depth" / "0.png")
    (tmp_path / "intrinsic" / name).write_text(f"7 {value} 4 0\n0 7 3 0\n0 0 1 0\n0 0 0 1\n")
    with pytest.raises(ValueError, match=rf"{name} has a number that is not finite: export it again"):
        load(tmp_path)
