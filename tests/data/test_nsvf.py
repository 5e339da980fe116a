"""NSVF's layout: prefixes are splits, bbox.txt is the box, and rays go where the texts say."""

from pathlib import Path

import numpy as np
import pytest

from isosweep.geometry import similarity_scale
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
    """The tiny demo as an NSVF scene: six training, one validation and one test view."""
    for i, (rgba, pose) in enumerate(demo_views()):
        write_demo_view(folder, f"{max(0, i - 5)}_{i:04d}.png", rgba, pose)
    write_matrix(folder / "intrinsics.txt", demo_K())
    return folder


def scene_at(folder: Path, names: list[str], mode: str = "RGB") -> Path:
    for name, pose in zip(names, [POSE, *around(len(names))], strict=False):
        write_view(folder, name, pose, mode=mode)
    write_matrix(folder / "intrinsics.txt", K)
    return folder


def load(folder: Path, **settings):
    return load_scene("nsvf", "toy", path=str(folder), **settings)


THREE = ["0_0.png", "0_1.png", "0_2.png", "1_0.png", "1_1.png", "2_0.png", "2_10.png", "2_9.png"]


def test_the_ray_worked_by_hand(tmp_path: Path) -> None:
    check_hand_worked(load(scene_at(tmp_path, THREE)), "0_0.png")


def test_prefixes_are_splits_and_names_sort_by_number(tmp_path: Path) -> None:
    scene = load(scene_at(tmp_path, THREE))
    assert names_of(scene, "train") == THREE[:3]
    assert names_of(scene, "val") == THREE[3:5]
    assert names_of(scene, "test") == ["2_0.png", "2_9.png", "2_10.png"]
    assert scene.held_out
    assert names_of(load(tmp_path, n_test=2, n_images=2), "train") == ["0_0.png", "0_2.png"]


def test_without_a_third_split_the_second_is_the_test_split(tmp_path: Path) -> None:
    scene = load(scene_at(tmp_path, ["0_a.png", "0_b.png", "0_c.png", "1_d.png"]), val_every=2)
    assert names_of(scene, "test") == ["1_d.png"]
    assert names_of(scene, "val") == ["0_a.png", "0_c.png"]
    assert names_of(scene, "train") == ["0_b.png"]


def test_without_prefixes_every_nth_view_is_held_out(tmp_path: Path) -> None:
    scene_at(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    assert names_of(load(tmp_path, test_every=2), "test") == ["a.png", "c.png"]
    assert not load(tmp_path).held_out


def test_the_box_of_the_file_is_the_box(tmp_path: Path) -> None:
    scene_at(tmp_path, THREE)
    (tmp_path / "bbox.txt").write_text("-1 -2 0 3 4 2 0.4\n")
    scene = load(tmp_path, radius=1.5)
    assert similarity_scale(scene.to_world) == pytest.approx(3 / 1.5)
    np.testing.assert_allclose(scene.to_world[:3, 3], [1, 1, 1])
    np.testing.assert_allclose(scene.to_world[:3, :3], 2 * np.eye(3))
    check_hand_worked(scene, "0_0.png")
    assert similarity_scale(load(tmp_path, scale=7.0).to_world) == pytest.approx(7)


def test_alpha_is_composited_over_white(tmp_path: Path) -> None:
    scene = load(scene_at(tmp_path, THREE, mode="RGBA"))
    assert scene.composite
    assert scene.background.tolist() == [1, 1, 1]


def test_deepvoxels_lines_are_read_as_intrinsics_too(tmp_path: Path) -> None:
    scene_at(tmp_path, THREE)
    (tmp_path / "intrinsics.txt").write_text("100. 64. 48. 0.\n0. 0. 0.\n0.\n1.\n96 128\n")
    check_hand_worked(load(tmp_path), "0_0.png")  # calibrated at twice the size
    (tmp_path / "intrinsics.txt").write_text("50. 32. 24. 0.\n0. 0. 0.\n")
    check_hand_worked(load(tmp_path), "0_0.png")


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("intrinsics.txt", "50 0 320 0\n0 50 240 0\n0 0 1 0\n0 0 0 1\n", r"point is \(320\.0, 240\.0\).* 10 times as"),
        ("intrinsics.txt", "50 0 32\n0 50\n", "has lines of 3, 2 numbers: expected a 4x4 or 3x3"),
        ("intrinsics.txt", "fifty\n", "is no text of numbers"),
        ("pose/0_0.txt", "1 0 0\n0 1 0\n", "is no finite 4x4 matrix \\(6 numbers\\)"),
        ("pose/0_0.txt", "2 0 0 0\n0 2 0 0\n0 0 2 0\n0 0 0 1\n", r"no rotation \(axis lengths \[2\.0, 2\.0"),
        ("bbox.txt", "1 1 1 0 2 2", "expected x0 y0 z0 x1 y1 z1"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told(tmp_path: Path, file: str, text: str, told: str) -> None:
    scene_at(tmp_path, THREE)
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=told):
        load(tmp_path)


def test_an_image_without_a_pose_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene_at(tmp_path, THREE)
    (tmp_path / "pose" / "0_1.txt").unlink()
    assert "0_1.png" not in load(tmp_path).names
    assert "1 images of" in caplog.text
    for pose in (tmp_path / "pose").glob("*.txt"):
        pose.rename(pose.with_name(f"cam{pose.name}"))
    with pytest.raises(
        FileNotFoundError, match=r"no image of .* has a pose in .*: poses are named like their images"
    ):
        load(tmp_path)


def test_a_scene_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"rgb/, pose/ and intrinsics.txt.*get nsvf_synthetic bike"):
        load_scene("nsvf", "bike", root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no folder rgb_2 in .*; it has pose, rgb"):
        load(scene_at(tmp_path, THREE), images="rgb_2")
    with pytest.raises(FileNotFoundError, match="no ground truth at"):
        load(tmp_path, truth="none.ply")
