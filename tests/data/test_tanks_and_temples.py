"""Tanks and Temples: a COLMAP model, NeRF++'s folders, or the authors' log with a focal length."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data import test_deepvoxels
from tests.support.captures import tiny_colmap
from tests.support.loading import load_scene
from tests.support.pose_folders import POSE, SIZE, around, check_hand_worked, names_of


def tiny(folder: Path) -> Path:
    """The tiny demo as GOF passes Tanks and Temples round."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    tiny_colmap(folder.parent / "tnt").rename(folder)
    return folder


def log_scene(folder: Path, n: int = 9) -> Path:
    (folder / "images").mkdir(parents=True)
    lines = []
    for i, pose in enumerate([POSE, *around(n - 1)]):
        Image.new("RGB", SIZE, (80, 90, 100)).save(folder / "images" / f"{i + 1:06d}.jpg")
        lines += [f"{i} {i} 0", *(" ".join(map(str, row)) for row in pose)]
    (folder / "Barn_COLMAP_SfM.log").write_text("\n".join(lines) + "\n")
    return folder


def load(folder: Path, **settings):
    return load_scene("tanks_and_temples", "barn", path=str(folder), **settings)


def test_the_ray_worked_by_hand_of_the_authors_log(tmp_path: Path) -> None:
    scene = load(log_scene(tmp_path), focal=50.0)
    check_hand_worked(scene, "000001.jpg")
    assert names_of(scene, "test") == ["000001.jpg", "000009.jpg"]


def test_the_log_needs_a_focal_length_and_as_many_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no intrinsics: give dataset\.focal= in pixels"):
        load(log_scene(tmp_path))
    (tmp_path / "images" / "000003.jpg").unlink()
    with pytest.raises(ValueError, match=r"has 9 poses, and .* has 8 images"):
        load(tmp_path, focal=50.0)
    (tmp_path / "Barn_COLMAP_SfM.log").write_text("0 0 0\n1 0 0 0\n")
    with pytest.raises(ValueError, match=r"is no trajectory log \(2 lines are no multiple of 5\)"):
        load(tmp_path, focal=50.0)


@pytest.mark.parametrize("row", ["1e308 0 0 0", "2 0 0 0", "0 0 0 0", "-1 0 0 0"])
def test_a_matrix_of_the_log_without_a_rotation_is_named(tmp_path: Path, row: str) -> None:
    log_scene(tmp_path)
    file = tmp_path / "Barn_COLMAP_SfM.log"
    lines = file.read_text().splitlines()
    lines[5:10] = ["1 1 0", row, "0 1 0 0", "0 0 1 0", "0 0 0 1"]
    file.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"Barn_COLMAP_SfM\.log: matrix 1 \(line 6\) holds no rotation"):
        load(tmp_path, focal=50.0)


def test_nerfpp_folders(tmp_path: Path) -> None:
    test_deepvoxels.splits_at(tmp_path)
    scene = load(tmp_path)
    check_hand_worked(scene, "train/000000.png")
    assert scene.dataset == "tanks_and_temples"
    assert len(scene.splits["test"]) == 2


def test_a_colmap_model_goes_first_and_the_ground_truth_is_found(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "barn")
    scene = load(folder)
    assert scene.official is None
    assert scene.points is not None
    np.savetxt(folder / "Barn_trans.txt", np.eye(4))
    log_scene(tmp_path / "other", n=2)
    (tmp_path / "other" / "Barn_COLMAP_SfM.log").rename(folder / "Barn_COLMAP_SfM.log")
    assert load(folder).official == folder
    assert load(folder, official=str(tmp_path)).official == tmp_path
    with pytest.raises(FileNotFoundError, match=r"dataset\.official"):
        load(folder, official=str(tmp_path / "none"))


def test_a_scene_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"download it: python scripts/data.py get tanks_and_temples barn"
    ):
        load_scene("tanks_and_temples", "barn", root=str(tmp_path))
