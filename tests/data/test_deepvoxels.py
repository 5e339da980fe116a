"""Splits in folders: DeepVoxels, whose scenes lie below the splits or the splits below the scene, and NeRF++."""

from pathlib import Path

import numpy as np
import pytest

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

LINES = "100. 64. 48. 0.\n0. 0. 0.\n0.\n1.\n96 128\n"
"""f, cx and cy of 128x96; the images have half of that."""


def tiny(folder: Path) -> Path:
    """The tiny demo as DeepVoxels: six training, one validation and one test view."""
    K = demo_K()
    for i, (rgba, pose) in enumerate(demo_views()):
        split = folder / ("train", "validation", "test")[max(0, i - 5)]
        write_demo_view(split, f"{i:06d}.png", rgba, pose)
        f, cx, cy = K[0, 0], K[0, 2], K[1, 2]
        (split / "intrinsics.txt").write_text(f"{f} {cx} {cy} 0.\n0. 0. 0. 1.\n0.\n1.\n32 32\n")
    return folder


def splits_at(base: Path, below: str = "", lines: str = LINES) -> Path:
    for split, count in (("train", 3), ("validation", 1), ("test", 2)):
        for i, pose in enumerate([POSE, *around(4)][:count]):
            write_view(base / split / below, f"{i:06d}.png", pose)
        (base / split / below / "intrinsics.txt").write_text(lines)
    return base


@pytest.mark.parametrize("below", ["", "cube"])
def test_the_ray_worked_by_hand(tmp_path: Path, below: str) -> None:
    splits_at(tmp_path if below else tmp_path / "deepvoxels" / "cube", below)
    root = tmp_path / "train" if below else tmp_path
    scene = load_scene("deepvoxels", "cube", root=str(root))
    for name in ("train/000000.png", "validation/000000.png", "test/000000.png"):
        check_hand_worked(scene, name)
    assert names_of(scene, "train") == [f"train/{i:06d}.png" for i in range(3)]
    assert names_of(scene, "val") == ["validation/000000.png"]
    assert names_of(scene, "test") == ["test/000000.png", "test/000001.png"]


def test_poses_that_are_world_to_camera(tmp_path: Path) -> None:
    splits_at(tmp_path, lines=f"{LINES}1\n")
    for pose in tmp_path.rglob("pose/*.txt"):
        write_matrix(pose, np.linalg.inv(np.loadtxt(pose)))
    check_hand_worked(load_scene("deepvoxels", "cube", path=str(tmp_path)), "train/000000.png")


def test_nerfpp_has_a_matrix_for_each_image(tmp_path: Path) -> None:
    splits_at(tmp_path)
    for image in list(tmp_path.rglob("rgb/*.png")):
        split = image.parents[1]
        (split / "intrinsics.txt").unlink(missing_ok=True)
        write_matrix(split / "intrinsics" / f"{image.stem}.txt", K, line=True)
    scene = load_scene("deepvoxels", "cube", path=str(tmp_path))
    check_hand_worked(scene, "train/000000.png")
    (tmp_path / "train" / "intrinsics" / "000001.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no intrinsics at .*train/intrinsics/000001\.txt"):
        load_scene("deepvoxels", "cube", path=str(tmp_path))


def test_without_test_views_some_are_held_out(tmp_path: Path) -> None:
    for i, pose in enumerate(around(4)):
        write_view(tmp_path / "train", f"{i}.png", pose)
    (tmp_path / "train" / "intrinsics.txt").write_text(LINES)
    scene = load_scene("deepvoxels", "cube", path=str(tmp_path), test_every=2)
    assert names_of(scene, "test") == ["train/0.png", "train/2.png"]
    assert not load_scene("deepvoxels", "cube", path=str(tmp_path)).held_out
