"""Depth bounds, lists of images, axes, several models, units and truths as people's files have them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from isosweep.data.checks import unseen_lines
from isosweep.data.colmap_model import read_model
from isosweep.data.colmap_places import find_model, n_registered
from isosweep.data.neus import unit_of
from tests.data.test_ndc import FAR, NEAR, forward
from tests.support.captures import (
    demo_lens,
    demo_points,
    tiny_colmap,
    tiny_llff,
    tiny_nerfstudio,
    world_poses,
    write_model,
)
from tests.support.loading import load_scene
from tests.support.scenes import tiny_blender, tiny_demo, tiny_neus

LOADED = {
    "colmap": tiny_colmap,
    "llff": tiny_llff,
    "nerfstudio": tiny_nerfstudio,
    "blender": tiny_blender,
    "dtu": tiny_neus,
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))


def with_bound(folder: str, row: int, column: int, value: float) -> str:
    file = Path(folder) / "poses_bounds.npy"
    rows = np.load(file)
    rows[:, 15] *= np.linspace(0.8, 1.2, len(rows))
    rows[row, column] = value
    np.save(file, rows)
    return folder


@pytest.mark.parametrize("ndc", [True, False])
@pytest.mark.parametrize("tiny", [8.7e-10, 1e-3, 0.05])
def test_one_tiny_nearest_depth_changes_nothing(
    ndc: bool, tiny: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = load_scene("llff", "s", path=with_bound(forward(tmp_path / "a"), 4, 15, NEAR), ndc=ndc)
    assert not caplog.text or "nearest depth" not in caplog.text
    bad = load_scene("llff", "s", path=with_bound(forward(tmp_path / "b"), 4, 15, tiny), ndc=ndc)
    assert np.allclose(good.to_world, bad.to_world)
    assert good.near_far == pytest.approx(bad.near_far)
    assert good.cameras.ndc == bad.cameras.ndc
    assert (
        f"a nearest depth of {tiny:.3g} (4.png), while the median of 6 views is 3.68: taking 3.2 instead"
        in caplog.text
    )


def test_one_huge_farthest_depth_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = load_scene("llff", "s", path=forward(tmp_path / "a"))
    folder = with_bound(forward(tmp_path / "b"), 1, 16, 1e9)
    rows = np.load(Path(folder) / "poses_bounds.npy")
    rows[:, 15] = NEAR
    np.save(Path(folder) / "poses_bounds.npy", rows)
    bad = load_scene("llff", "s", path=folder)
    assert np.allclose(good.to_world, bad.to_world)
    assert (
        f"a farthest depth of 1e+09 (1.png), while the median of 6 views is {FAR:g}: taking {FAR:g}"
        in caplog.text
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(-2.0, r"the depths of 4\.png run from -2 to 30; expected 0 < near <= far"),
     (0.0, r"the depths of 4\.png run from 0"),
     (np.nan, r"the pose of 4\.png \(row 4\) has nan or inf entries"), (40.0, r"4\.png run from 40 to 30")],
)  # fmt: skip
def test_impossible_depths_are_refused_with_their_view(value: float, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=text):
        load_scene("llff", "s", path=with_bound(forward(tmp_path), 4, 15, value), ndc=True)


def test_depths_that_vary_much_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cameras around and inside a room: nearest depths over a factor of 30, none of which is alone."""
    folder = forward(tmp_path)
    file = tmp_path / "poses_bounds.npy"
    rows = np.load(file)
    rows[:, 15] = [0.5, 1, 2, 4, 8, 15]
    np.save(file, rows)
    load_scene("llff", "s", path=folder)
    assert "nearest depth" not in caplog.text


def test_view_imgs_names_the_images_with_poses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_llff(tmp_path)
    expected = load_scene("llff", "mug", path=str(folder), test_every=None)
    for name in ("a.png", "view_00.png", "z.png"):
        Image.new("RGB", (32, 32)).save(folder / "images" / name)
    with pytest.raises(
        ValueError, match=r"8 poses and .* 11 images.* name those that have one in view_imgs\.txt"
    ):
        load_scene("llff", "mug", path=str(folder))
    listed = [f"view_{i}.jpg" if i == 2 else f"images/view_{i}.png" for i in (3, 2, 1, 0, 7, 6, 5, 4)]
    (folder / "view_imgs.txt").write_text("\n".join(listed) + "\r\n\n")
    with caplog.at_level("INFO"):
        scene = load_scene("llff", "mug", path=str(folder), test_every=None)
    assert scene.names == expected.names
    assert np.array_equal(scene.cameras.c2w, expected.cameras.c2w)
    assert "3 of 11 images in" in caplog.text
    (folder / "view_imgs.txt").write_text("gone.png\n")
    with pytest.raises(
        FileNotFoundError, match=r"1 of the 1 images that .*view_imgs\.txt lists .*\(gone\.png\)"
    ):
        load_scene("llff", "mug", path=str(folder))


def turned(folder: Path, dataset: str) -> Path:
    """The scene with its poses in OpenCV's axes."""
    if dataset == "llff":
        rows = np.load(folder / "poses_bounds.npy")
        matrix = rows[:, :15].reshape(-1, 3, 5)
        down, right, back = (matrix[:, :, i].copy() for i in range(3))
        matrix[:, :, 0], matrix[:, :, 1], matrix[:, :, 2] = right, down, -back
        np.save(folder / "poses_bounds.npy", rows)
        return folder
    for file in folder.glob("transforms*.json"):
        meta = json.loads(file.read_text())
        for frame in meta["frames"]:
            frame["transform_matrix"] = (np.array(frame["transform_matrix"]) * [1, -1, -1, 1]).tolist()
        file.write_text(json.dumps(meta))
    return folder


@pytest.mark.parametrize("dataset", ["nerfstudio", "blender", "llff"])
def test_poses_in_other_axes_are_told_and_read(dataset: str, tmp_path: Path) -> None:
    good = load_scene(dataset, "mug", path=str(LOADED[dataset](tmp_path / "a")))
    assert unseen_lines(good) == []
    folder = turned(LOADED[dataset](tmp_path / "b"), dataset)
    (line,) = unseen_lines(load_scene(dataset, "mug", path=str(folder)))
    assert (
        f"of {len(good.splits['train'])} training cameras of {dataset} scene mug see nothing of the box"
        in line
    )
    assert "dataset.axes=opencv (or opengl) says so" in line
    read = load_scene(dataset, "mug", path=str(folder), axes="opencv")
    assert np.allclose(read.cameras.c2w, good.cameras.c2w, atol=1e-6)
    assert np.allclose(read.to_world, good.to_world)


def test_single_cameras_that_see_nothing_are_named(tmp_path: Path) -> None:
    folder = tiny_nerfstudio(tmp_path)
    meta = json.loads((folder / "transforms.json").read_text())
    for i in (1, 5):
        matrix = np.array(meta["frames"][i]["transform_matrix"])
        matrix[:3, :3] = matrix[:3, :3] @ np.diag([-1, 1, -1])
        meta["frames"][i]["transform_matrix"] = matrix.tolist()
    (folder / "transforms.json").write_text(json.dumps(meta))
    (line,) = unseen_lines(load_scene("nerfstudio", "mug", path=str(folder)))
    assert line.startswith(
        "2 of 7 training cameras of nerfstudio scene mug see nothing of the box (images/view_1.png, "
    )
    assert "dataset.image_ids" in line


def part(folder: Path, views: slice, binary: bool) -> None:
    demo = tiny_demo()
    poses = list(enumerate(world_poses(demo)))[views]
    images = [(f"view_{i}.png", 1, pose) for i, pose in poses]
    write_model(folder, {1: demo_lens(demo)}, images, demo_points(demo), binary)


@pytest.mark.parametrize("binary", [True, False])
def test_the_largest_of_several_models_is_taken_and_told(
    binary: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_colmap(tmp_path)
    sparse = folder / "sparse"
    (sparse / "0").rename(sparse / "1")
    part(sparse / "0", slice(3), binary)
    part(sparse / "2", slice(2, 4), not binary)
    assert [n_registered(sparse / name) for name in "012"] == [3, 8, 2]
    with caplog.at_level("INFO"):
        scene = load_scene("colmap", "mug", path=str(folder))
    assert len(scene.cameras) == 8
    assert (
        "has 3 models, sparse/0 (3 images), sparse/1 (8 images), sparse/2 (2 images): taking the largest, sparse/1; "
        "dataset.model= takes another"
    ) in caplog.text
    assert len(load_scene("colmap", "mug", path=str(folder), model="sparse/0").cameras) == 3
    shutil.rmtree(sparse / "1")
    part(sparse / "1", slice(4, 7), binary)
    assert find_model(folder) == sparse / "0", "the first of equal ones"


@pytest.mark.parametrize("name", ["view_{}.png", "my view {}.png", "{}"])
def test_images_txt_without_second_lines(name: str, tmp_path: Path) -> None:
    folder = tiny_colmap(tmp_path, binary=False)
    file = folder / "sparse" / "0" / "images.txt"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    firsts = [f"{' '.join(line.split()[:9])} {name.format(i)}" for i, line in enumerate(lines[::2])]
    file.write_text("\n".join(firsts) + "\n")
    second = name.format(1)
    with pytest.raises(
        ValueError,
        match=rf"images\.txt, line 2: each image takes two lines, and the second may be empty.*\({second}\)",
    ):
        read_model(file.parent)
    file.write_text("\n\n".join(firsts) + "\n")
    assert len(read_model(file.parent).images) == 8
    assert n_registered(file.parent) == 8


def test_a_model_with_rigs_and_frames(tmp_path: Path) -> None:
    """As COLMAP 3.12 and later write it, binary and text."""
    pycolmap = pytest.importorskip("pycolmap")
    folder = tiny_colmap(tmp_path)
    expected = load_scene("colmap", "mug", path=str(folder))
    sparse = folder / "sparse" / "0"
    recon = pycolmap.Reconstruction(str(sparse))
    for write, ending in ((recon.write_binary, "bin"), (recon.write_text, "txt")):
        shutil.rmtree(sparse)
        sparse.mkdir()
        write(str(sparse))
        assert {f"rigs.{ending}", f"frames.{ending}"} <= {p.name for p in sparse.iterdir()}
        scene = load_scene("colmap", "mug", path=str(folder))
        assert np.allclose(scene.cameras.c2w, expected.cameras.c2w, atol=1e-5)


@pytest.mark.parametrize(
    ("scene", "scale", "official", "unit"),
    [("scan24", 300.0, False, "mm"), ("dtu_scan114", 300.0, False, "mm"), ("walnut", 300.0, False, "unit"),
     ("scan24", 0.0285, False, "unit"), ("scan_of_a_walnut", 300.0, False, "unit"), ("mine", 1.0, True, "mm")],
)  # fmt: skip
def test_the_unit_of_a_neus_layout(
    scene: str, scale: float, official: bool, unit: str, tmp_path: Path
) -> None:
    matrix = np.diag([scale, scale, scale, 1.0])
    assert unit_of("auto", tmp_path, scene, matrix, official) == unit
    assert unit_of("m", tmp_path, scene, matrix, official) == "m"
    (tmp_path / "isosweep.json").write_text(json.dumps({"to_world": np.eye(4).tolist(), "world_unit": "cm"}))
    assert unit_of("auto", tmp_path, scene, matrix, official) == "cm"


@pytest.mark.parametrize("dataset", LOADED)
def test_every_data_set_takes_a_truth(dataset: str, tmp_path: Path) -> None:
    folder = LOADED[dataset](tmp_path)
    ball = trimesh.creation.icosphere()
    (folder / "real").mkdir()
    ball.export(folder / "real" / "ball.ply")
    ball.export(folder / "real" / "other.obj")
    for given in (str(folder / "real" / "ball.ply"), "real/ball.ply"):
        assert load_scene(dataset, "mug", path=str(folder), truth=given).truth == folder / "real" / "ball.ply"
    assert load_scene(dataset, "mug", path=str(folder), truth="real").truth == folder / "real"
    with pytest.raises(FileNotFoundError, match=r"no ground truth at gone\.ply \(dataset\.truth\)"):
        load_scene(dataset, "mug", path=str(folder), truth="gone.ply")
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder without meshes"):
        load_scene(dataset, "mug", path=str(folder), truth="empty")
