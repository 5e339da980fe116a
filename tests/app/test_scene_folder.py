"""A scene that is not there is told before anything loads, also on a machine that only plans."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from isosweep.app.scene_folder import wrong_scene


def cfg(root: Path, scene: str, target: str = "isosweep.data.colmap.load", **data):
    node = {"_target_": target, "name": "colmap", "scene": scene, "root": str(root), "path": None, **data}
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
    assert text is not None
    assert text.startswith(f"no colmap scene 'towre' at {root}/towre, {root}/colmap_towre, ")
    assert text.endswith(f"; did you mean 'tower'? {root} has: bridge, colmap, house, tower")


def test_a_folder_of_its_own(root: Path) -> None:
    assert wrong_scene(cfg(root, "any", path=str(root / "tower"))) is None
    text = wrong_scene(cfg(root, "any", path=str(root / "towr")))
    assert text is not None
    assert text.startswith(f"no colmap scene 'any' at {root}/towr")


def test_an_absent_data_folder_may_be_on_the_other_machine(tmp_path: Path, root: Path) -> None:
    gone = tmp_path / "gone"
    text = wrong_scene(cfg(gone, "x"))
    assert text is not None
    assert f"{gone} does not exist" in text
    assert text.endswith("set dataset.root=, dataset.path= or ISOSWEEP_DATA")
    assert wrong_scene(cfg(gone, "x"), elsewhere=True) is None
    assert wrong_scene(cfg(root, "x"), elsewhere=True) is not None, (
        "a folder that is here, too, is looked into"
    )


def test_scenes_of_the_demo_need_no_folder(tmp_path: Path) -> None:
    demo = "isosweep.data.demo.load"
    assert wrong_scene(cfg(tmp_path, "rings", demo)) is None
    assert wrong_scene(cfg(tmp_path, "rigns", demo)) == (
        "no demo scene 'rigns'; did you mean 'rings'? The demo has: chrome, mug, rings"
    )


def test_loaders_of_others_are_not_asked(tmp_path: Path) -> None:
    assert wrong_scene(cfg(tmp_path, "x", "mine.load", n_images=0)) is None


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("n_images", "take 1 or more"),
        ("n_test", "take 1 or more"),
        ("test_every", "2 or more"),
        ("val_every", "2 or more"),
    ],
)
def test_a_count_of_nothing_is_refused(root: Path, key: str, words: str) -> None:
    text = wrong_scene(cfg(root, "tower", **{key: 0}))
    assert text is not None
    assert text.startswith(f"dataset.{key}=0: ")
    assert words in text
    assert wrong_scene(cfg(root, "tower", **{key: 1})) is None
    assert wrong_scene(cfg(root, "tower", **{key: None})) is None


def test_other_options_that_mean_nothing_are_refused_as_well(root: Path) -> None:
    text = wrong_scene(cfg(root, "tower", background="grey"))
    assert text == "dataset.background is one of auto, white, black, found 'grey'"


def test_it_loads_no_torch() -> None:
    code = "import sys, isosweep.app.scene_folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
