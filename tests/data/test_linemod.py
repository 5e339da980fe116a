"""LINEMOD's json: an intrinsic_matrix a frame, OpenGL poses, paths from wherever the json was written."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isosweep.geometry import opencv_to_opengl
from tests.support.loading import load_scene
from tests.support.pose_folders import POSE, SIZE, K, around, check_hand_worked, demo_K, demo_views, names_of


def tiny(folder: Path) -> Path:
    """The tiny demo as a LINEMOD json."""
    views = [(Image.fromarray(rgba), pose) for rgba, pose in demo_views()]
    return write(folder, {"train": views[:6], "val": views[6:7], "test": views[7:]}, demo_K()[:3, :3])


def write(folder: Path, splits: dict, matrix: np.ndarray, before: str = "./data/ape") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, views in splits.items():
        frames = []
        for i, (image, pose) in enumerate(views):
            (folder / split).mkdir(exist_ok=True)
            image.save(folder / split / f"{i:04d}.png")
            pose = np.vstack([opencv_to_opengl(pose[:3]), [0, 0, 0, 1]])
            frames.append(
                {
                    "file_path": f"{before}/{split}/{i:04d}.png",
                    "transform_matrix": pose.tolist(),
                    "intrinsic_matrix": matrix.tolist(),
                }
            )
        (folder / f"transforms_{split}.json").write_text(json.dumps({"frames": frames, "near": 1, "far": 4}))
    return folder


def scene_at(folder: Path, matrix: np.ndarray = K[:3, :3], before: str = "./data/ape") -> Path:
    views = [(Image.new("RGB", SIZE, (10, 20, 30)), pose) for pose in [POSE, *around(4)]]
    return write(folder, {"train": views[:3], "test": views[3:]}, matrix, before)


@pytest.mark.parametrize("before", ["./data/ape", ".", "/home/somebody/ape", "C:\\ape"])
def test_the_ray_worked_by_hand(tmp_path: Path, before: str) -> None:
    scene = load_scene("linemod", "ape", path=str(scene_at(tmp_path, before=before)))
    check_hand_worked(scene, "train/0000.png")
    assert names_of(scene, "test") == ["test/0000.png", "test/0001.png"]
    assert len(scene.splits["train"]) == 3


@pytest.mark.parametrize(
    ("matrix", "told"),
    [
        (
            np.diag([50.0, -50, 1]),
            "the intrinsic_matrix of .* is no finite 3x3 matrix with positive focal lengths",
        ),
        (np.eye(4), r"\(shape \(4, 4\)\)"),
        (np.array([[50, 9, 32], [0, 50, 24], [0, 0, 1.0]]), "without skew"),
    ],
)
def test_a_matrix_that_cannot_be_used(tmp_path: Path, matrix: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        load_scene("linemod", "ape", path=str(scene_at(tmp_path, matrix)))


def test_a_missing_image(tmp_path: Path) -> None:
    scene_at(tmp_path)
    (tmp_path / "train" / "0001.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"lists \./data/ape/train/0001\.png, and no end of that path"
    ):
        load_scene("linemod", "ape", path=str(tmp_path))
