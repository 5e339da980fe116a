"""A scene that is not there is told before anything loads, also on a machine that only plans."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from isosweep.app.scene_folder import wrong_scene


def cfg(root: Path, scene: str, target: str = "isosweep.data.colmap.load", **data):
    node = {"_target_": target, "name": "colmap", "root": str(root), "path": None, **data}
    return OmegaConf.create({"scene": scene, "dataset": node})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("colmap_house", "tower", "colmap/bridge", ".cache"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("scene", ["house", "colmap_house", "tower", "bridge"])
def test_a_scene_is_found_in_every_place(root: Path, scene: str) -> None:
    assert wrong_scene(cfg(root, scene)) is None


def test_a_misspelt_scene_names_the_nearest_and_all(root: Path) -> None:
    text = wrong_scene(cfg(root, "towre"))
    assert (
        text
        == f"no colmap scene 'towre' in {root}; did you mean 'tower'? It has: bridge, colmap, house, tower"
    )


def test_a_folder_of_its_own(root: Path) -> None:
    assert wrong_scene(cfg(root, "any", path=str(root / "tower"))) is None
    text = wrong_scene(cfg(root, "any", path=str(root / "towr")))
    assert text is not None
    assert text.startswith(f"no colmap scene 'any' in {root}")


def test_an_absent_data_folder_may_be_on_the_other_machine(tmp_path: Path, root: Path) -> None:
    gone = tmp_path / "gone"
    text = wrong_scene(cfg(gone, "x"))
    assert (
        text
        == f"no colmap scene 'x': {gone} does not exist; set dataset.root=, dataset.path= or ISOSWEEP_DATA"
    )
    assert wrong_scene(cfg(gone, "x"), elsewhere=True) is None
    assert wrong_scene(cfg(root, "x"), elsewhere=True) is not None, (
        "a folder that is here as well is looked into"
    )


def test_scenes_of_the_demo_need_no_folder(tmp_path: Path) -> None:
    demo = "isosweep.data.demo.load"
    assert wrong_scene(cfg(tmp_path, "rings", demo)) is None
    assert wrong_scene(cfg(tmp_path, "rigns", demo)) == (
        "no demo scene 'rigns'; did you mean 'rings'? The demo has: mug, rings"
    )


def test_loaders_of_others_are_not_asked(tmp_path: Path) -> None:
    assert wrong_scene(cfg(tmp_path, "x", "mine.load", n_images=0)) is None


@pytest.mark.parametrize("key", ["n_images", "n_test", "test_every", "val_every"])
def test_a_count_of_nothing_is_refused(root: Path, key: str) -> None:
    assert wrong_scene(cfg(root, "tower", **{key: 0})) == f"dataset.{key}=0: give 1 or more, or null"
    assert wrong_scene(cfg(root, "tower", **{key: 1})) is None
    assert wrong_scene(cfg(root, "tower", **{key: None})) is None


def test_it_loads_no_torch() -> None:
    code = "import sys, isosweep.app.scene_folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
