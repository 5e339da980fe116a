"""Where scenes are looked for, and what is said when they are not there."""

from pathlib import Path

import pytest

from isosweep.data import neus
from isosweep.data.folders import find_scene, spread, whole_factor


def scene_at(folder: Path) -> Path:
    (folder / "image").mkdir(parents=True)
    (folder / "cameras_sphere.npz").touch()
    return folder


def looks_right(folder: Path) -> bool:
    return (folder / "image").is_dir()


@pytest.mark.parametrize("place", ["bear", "bmvs_bear", "bmvs/bear", "bmvs/bmvs_bear"])
def test_every_place_is_tried(tmp_path: Path, place: str) -> None:
    folder = scene_at(tmp_path / place)
    assert find_scene("bmvs", "bear", None, str(tmp_path), "image/", looks_right) == folder


def test_the_first_place_that_looks_right_wins_over_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "scan24").mkdir()
    folder = scene_at(tmp_path / "dtu_scan24")
    assert find_scene("dtu", "scan24", None, str(tmp_path), "image/", looks_right) == folder
    assert find_scene("dtu", "any", str(folder), "nowhere", "image/", looks_right) == folder


def test_a_wrong_name_lists_what_is_there_and_suggests(tmp_path: Path) -> None:
    for name in ("dtu_scan24", "dtu_scan37", "dtu/scan40", "notes"):
        scene_at(tmp_path / name) if name != "notes" else (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError) as error:
        neus.load("scan25", "dtu", root=str(tmp_path))
    text = str(error.value)
    assert f"no dtu scene 'scan25' at {tmp_path}/scan25, {tmp_path}/dtu_scan25" in text
    assert "did you mean 'scan24'?" in text
    assert f"{tmp_path} has: scan24, scan37, scan40" in text


def test_an_empty_or_absent_root(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no such scene \(a bmvs scene holds image/"):
        neus.load("bear", "bmvs", root=str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"nowhere does not exist .*: set dataset.root=, dataset.path="
    ):
        neus.load("bear", "bmvs", root=str(tmp_path / "nowhere"))


def test_a_folder_of_another_kind_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "bear" / "images").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"bear is no bmvs scene: expected image/ .*, found images"):
        neus.load("bear", "bmvs", root=str(tmp_path))
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="found an empty folder"):
        neus.load("x", "bmvs", path=str(tmp_path / "none"))


def test_spread_is_even_and_keeps_the_ends() -> None:
    assert spread(10, None) == list(range(10))
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(10, 1) == [0]
    assert spread(3, 7) == [0, 1, 2]
    with pytest.raises(ValueError, match="at least 1, found 0"):
        spread(10, 0)


def test_whole_factor() -> None:
    assert whole_factor(1.0) == 1
    assert whole_factor(4) == 4
    with pytest.raises(ValueError, match=r"whole number of pixels a side \(1, 2, 4\), found 2.5"):
        whole_factor(2.5)
