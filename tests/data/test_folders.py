"""Where scenes are looked for, and what is said when they are not there."""

from pathlib import Path

import pytest

from isosweep.data.folders import find_scene
from isosweep.data.loading import ViewOptions
from tests.support.loading import load_scene


def scene_at(folder: Path) -> Path:
    (folder / "image").mkdir(parents=True)
    (folder / "cameras_sphere.npz").touch()
    return folder


def is_scene(folder: Path) -> bool:
    return (folder / "image").is_dir()


@pytest.mark.parametrize("place", ["bear", "bmvs_bear", "bmvs/bear", "bmvs/bmvs_bear"])
def test_every_place_is_tried(tmp_path: Path, place: str) -> None:
    folder = scene_at(tmp_path / place)
    assert find_scene(ViewOptions("bear", "bmvs", root=str(tmp_path)), "image/", is_scene) == folder


def test_the_first_place_that_is_scene_wins_over_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "scan24").mkdir()
    folder = scene_at(tmp_path / "dtu_scan24")
    assert find_scene(ViewOptions("scan24", "dtu", root=str(tmp_path)), "image/", is_scene) == folder
    assert find_scene(ViewOptions("any", "dtu", str(folder), "nowhere"), "image/", is_scene) == folder


def test_a_wrong_name_lists_what_is_there_and_suggests(tmp_path: Path) -> None:
    for name in ("dtu_scan24", "dtu_scan37", "dtu/scan40", "notes"):
        scene_at(tmp_path / name) if name != "notes" else (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError) as error:
        load_scene("dtu", "scan25", root=str(tmp_path))
    text = str(error.value)
    assert f"no dtu scene 'scan25' at {tmp_path}/scan25, {tmp_path}/dtu_scan25" in text
    assert "did you mean 'scan24'?" in text
    assert f"{tmp_path} has: scan24, scan37, scan40" in text


def test_an_empty_or_absent_root(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no such scene \(a bmvs scene holds image/"):
        load_scene("bmvs", "bear", root=str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"nowhere does not exist .*: set dataset.root=, dataset.path="
    ):
        load_scene("bmvs", "bear", root=str(tmp_path / "nowhere"))


def test_a_folder_of_another_kind_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "bear" / "images").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"bear is no bmvs scene: expected image/ .*, found images"):
        load_scene("bmvs", "bear", root=str(tmp_path))
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="found an empty folder"):
        load_scene("bmvs", "x", path=str(tmp_path / "none"))


def test_a_missing_scene_of_a_benchmark_names_the_command_that_downloads_it(tmp_path: Path) -> None:
    command = "python scripts/data.py get dtu scan24"
    with pytest.raises(FileNotFoundError, match=rf"or ISOSWEEP_DATA, or download it: {command}$"):
        load_scene("dtu", "scan24", root=str(tmp_path))
    scene_at(tmp_path / "dtu_scan37")
    with pytest.raises(FileNotFoundError, match=rf"has: scan37; download it: {command}$"):
        load_scene("dtu", "dtu_scan24", root=str(tmp_path))
    for scene, settings in {
        "scan1": {"root": str(tmp_path)},
        "scan24": {"path": str(tmp_path / "x")},
    }.items():
        with pytest.raises(FileNotFoundError) as error:
            load_scene("dtu", scene, **settings)
        assert "download" not in str(error.value)
