"""ScanNet++: a fisheye in COLMAP's model with the splits of a json, or pin-hole images."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isosweep.data.lens import Lens
from tests.support.captures import demo_lens, demo_points, world_poses, write_images, write_model
from tests.support.loading import load_scene
from tests.support.pose_folders import POSE, SIZE, around, check_hand_worked, names_of, world_ray
from tests.support.scenes import tiny_demo


def tiny(folder: Path) -> Path:
    """The tiny demo as ScanNet++."""
    demo, dslr = tiny_demo(), folder / "dslr"
    names = write_images(dslr / "resized_images", demo)
    images = [(name, 1, pose) for name, pose in zip(names, world_poses(demo), strict=True)]
    write_model(dslr / "colmap", {1: demo_lens(demo)}, images, demo_points(demo), binary=False)
    write_splits(dslr, names[1:], names[:1])
    return folder


def write_splits(dslr: Path, train: list[str], test: list[str]) -> None:
    (dslr / "train_test_lists.json").write_text(
        json.dumps({"train": train, "test": test, "has_masks": False})
    )


def scene_at(folder: Path, lens: Lens, images: str = "resized_images", size: tuple[int, int] = SIZE) -> Path:
    dslr = folder / "dslr"
    (dslr / images).mkdir(parents=True)
    views = [(f"DSC{i:05d}.JPG", 1, pose[:3]) for i, pose in enumerate([POSE, *around(4)])]
    for name, _, _ in views:
        Image.new("RGB", size, (80, 90, 100)).save(dslr / images / name)
    points = np.random.default_rng(0).uniform(-1, 1, (40, 3))
    write_model(dslr / "colmap", {1: lens}, views, points, binary=False)
    write_splits(dslr, [v[0] for v in views[:3]], [v[0] for v in views[3:]])
    return folder


def load(folder: Path, **settings):
    return load_scene("scannetpp", "0a1b", path=str(folder), **settings)


PINHOLE = Lens("PINHOLE", *SIZE, (50, 50, 32, 24))


def test_the_ray_worked_by_hand(tmp_path: Path) -> None:
    scene = load(scene_at(tmp_path, PINHOLE))
    check_hand_worked(scene, "DSC00000.JPG")
    assert names_of(scene, "test") == ["DSC00003.JPG", "DSC00004.JPG"]
    assert scene.held_out
    assert scene.world_unit == "m"


def test_a_fisheye_is_straightened(tmp_path: Path) -> None:
    """Of an equidistant lens the middle stays where it is, and every ray of the pin-hole image passes the camera."""
    scene = load(
        scene_at(tmp_path, Lens("OPENCV_FISHEYE", *SIZE, (50.0, 50.0, 32.0, 24.0, 0.0, 0.0, 0.0, 0.0)))
    )
    view = scene.names.index("DSC00000.JPG")
    K = scene.cameras.K[view]
    assert K[0, 0] == pytest.approx(50, rel=1e-6)
    col = float(K[0, 2]) - 0.5
    row = float(K[1, 2]) - 0.5
    _, direction = world_ray(scene, "DSC00000.JPG", (round(row), round(col)))
    expected = np.array([-1, (round(col) - col) / 50, -(round(row) - row) / 50])
    np.testing.assert_allclose(direction, expected / np.linalg.norm(expected), atol=1e-5)


def test_undistorted_images_have_their_own_cameras(tmp_path: Path) -> None:
    fisheye = Lens("OPENCV_FISHEYE", 80, 60, (40.0, 40.0, 40.0, 30.0, 0.1, 0.0, 0.0, 0.0))
    scene_at(tmp_path, fisheye, "resized_undistorted_images")
    with pytest.raises(FileNotFoundError, match=r"no .*nerfstudio/transforms_undistorted\.json"):
        load(tmp_path)
    file = tmp_path / "dslr" / "nerfstudio" / "transforms_undistorted.json"
    file.parent.mkdir()
    meta = {"w": 64, "h": 48, "fl_x": 50, "fl_y": 50, "cx": 32, "cy": 24, "frames": []}
    file.write_text(json.dumps(meta))
    check_hand_worked(load(tmp_path), "DSC00000.JPG")
    file.write_text(json.dumps(meta | {"fl_x": None}))
    with pytest.raises(ValueError, match="lacks a number among w, h, fl_x"):
        load(tmp_path)


def test_splits_that_belong_to_another_scene(tmp_path: Path) -> None:
    scene_at(tmp_path, PINHOLE)
    write_splits(tmp_path / "dslr", ["other.JPG"], [])
    with pytest.raises(
        ValueError, match=r"none of its training images is in .*: it belongs to another scene"
    ):
        load(tmp_path)
    (tmp_path / "dslr" / "train_test_lists.json").unlink()
    assert names_of(load(tmp_path, test_every=2), "test") == [f"DSC0000{i}.JPG" for i in (0, 2, 4)]


def test_the_scan_is_the_truth(tmp_path: Path) -> None:
    scene_at(tmp_path, PINHOLE)
    mesh = tmp_path / "scans" / "mesh_aligned_0.05.ply"
    mesh.parent.mkdir()
    mesh.write_text("ply\n")
    assert load(tmp_path).truth == mesh
