"""The commands that a preparation prints."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import isosweep.config.schema  # noqa: F401 - registers the schema of the plain nodes
from isosweep.prepare.messages import RECIPES, train_commands

CONF = Path(__file__).resolve().parents[2] / "conf"


def test_whole_photographs_with_points_have_a_recipe_for_a_mesh_and_one_for_views(tmp_path: Path) -> None:
    layouts = ("colmap", "neus", "nerfstudio")
    where = f"scene={tmp_path.name} dataset.path={tmp_path}"
    assert train_commands(tmp_path, layouts, False) == [
        f"python main.py experiment=neus-bg-colmap {where}",
        f"python main.py experiment=nerf-bg-colmap {where}",
        f"python main.py model=neus_bg dataset=dtu dataset.name=prepared dataset.world_unit=unit {where}",
        f"python main.py experiment=neus-bg-colmap dataset=nerfstudio {where}",
        f"python main.py experiment=nerf-bg-colmap dataset=nerfstudio {where}",
    ]
    assert train_commands(tmp_path, ("colmap",), True) == [
        f"python main.py model=neus loss=mask dataset=colmap {where}"
    ]


def test_a_ring_of_cameras_far_from_an_object_has_the_box_of_its_region(tmp_path: Path) -> None:
    where = f"scene={tmp_path.name} dataset.path={tmp_path}"
    for nearest, box in ((2.9, ""), (3.0, " dataset.radius=1")):
        assert train_commands(tmp_path, ("colmap",), False, nearest) == [
            f"python main.py experiment=neus-bg-colmap {where}",
            f"python main.py experiment=nerf-bg-colmap{box} {where}",
        ]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dataset", ["colmap", "nerfstudio"])
def test_the_recipes_compose_with_each_layout_that_has_points(recipe: str, dataset: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"experiment={recipe}", f"dataset={dataset}", "scene=a"])
    assert cfg.dataset.name == dataset
    assert bool(cfg.loss.terms.sfm.weight) == (recipe == "neus-bg-colmap")
    assert cfg.loss.masks is False
