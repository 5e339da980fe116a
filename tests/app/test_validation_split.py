"""dataset.val_every=auto in the configs that ship, in a run's log, and in the objective of a sweep."""

import math
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from isosweep.app.validation_split import views_line
from isosweep.config.schema import CONF
from isosweep.record.metrics import objective, validated


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides, "scene=x"])


def test_every_data_set_validates_by_default() -> None:
    for path in (CONF / "dataset").glob("*.yaml"):
        node = OmegaConf.load(path).dataset
        own = path.stem in ("demo", "picture")  # these bring their own validation
        assert node.get("val_every") == (None if own else "auto"), path.stem


PUBLISHED = sorted(
    p.stem for p in (CONF / "experiment").glob("*.yaml") if not p.stem.startswith(("fast-", "nero-demo"))
)


@pytest.mark.parametrize("recipe", [*PUBLISHED, "fast-neuralangelo-dtu", "fast-nerf-llff"])
def test_recipes_with_published_figures_train_on_all_views(recipe: str) -> None:
    assert composed(f"experiment={recipe}").dataset.val_every is None


@pytest.mark.parametrize(
    ("splits", "val_every", "line"),
    [
        ((44, 5, 0), "auto", "views: 44 train, 5 validate"),
        ((92, 8, 200), "auto", "views: 92 train, 8 validate, 200 test"),
        ((19, 0, 3), "auto", "views: 19 train, 3 test, none validate (fewer than 20 train)"),
        ((49, 0, 0), None, "views: 49 train, none validate (dataset.val_every=null)"),
    ],
)
def test_the_line_of_the_log(splits: tuple[int, int, int], val_every, line: str) -> None:
    n_train, n_val, n_test = splits
    train, val = range(n_train), range(n_train, n_train + n_val)
    test = range(1000, 1000 + n_test) if n_test else train
    assert views_line({"train": train, "val": val, "test": test}, val_every) == line
    assert len(line) <= 80


def test_the_objective_without_validation_views_is_that_of_training_views(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    assert math.isnan(objective(tmp_path))
    metrics.write_text('{"step": 9, "train/views_psnr": 31.5, "time_s": 1.0}\n')
    assert objective(tmp_path) == 31.5
    assert not validated(tmp_path)
    metrics.write_text('{"step": 3, "val/psnr": 20.0}\n{"step": 9, "val/psnr": 21.0}\n' + metrics.read_text())
    assert objective(tmp_path) == 21.0
    assert validated(tmp_path)
