"""ViewOptions: flat keys are split between it and the loader, and the config is checked against both."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_method
from omegaconf import OmegaConf

from isosweep.app.build import build_scene
from isosweep.config.check import ConfigError, check_targets
from isosweep.config.schema import CONF
from isosweep.config.signatures import find_signature
from isosweep.data.loading import ViewOptions, split_settings, takes_views
from isosweep.types import Scene
from tests.support.analytic import SphereModel, sphere_scene
from tests.support.scenes import tiny_neus

DATASETS = sorted(path.stem for path in (CONF / "dataset").glob("*.yaml"))
HERE = "tests.data.test_loading"


def node_of(dataset: str, *overrides: str) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"dataset={dataset}", "scene=s", *overrides]).dataset


def load(views: ViewOptions, *, depth: float = 1.0, unit: str) -> Scene:
    """A loader outside the package; the scene's name says what it was called with."""
    return replace(sphere_scene(SphereModel()), name=repr((views, depth, unit)))


def load_flat(scene: str, downscale: float, **others: object) -> Scene:
    """A loader outside the package that knows nothing of ViewOptions."""
    return replace(sphere_scene(SphereModel()), name=repr((scene, downscale, others)))


def test_shared_keys_go_to_the_views_and_the_others_to_the_loader() -> None:
    node = {"_target_": "x.load", "scene": "s", "downscale": 2.0, "image_ids": [1, 2], "ndc": True}
    views, own = split_settings(node)
    assert views == ViewOptions("s", downscale=2.0, image_ids=[1, 2])
    assert own == {"_target_": "x.load", "ndc": True}
    assert (views.factor, views.named("llff").name) == (2, "llff")
    assert ViewOptions("s", "mine").named("llff").name == "mine"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"downscale": 2.5},
            r"dataset\.downscale is a whole number of pixels a side \(1, 2, 4\), found 2\.5",
        ),
        ({"downscale": 0}, r"dataset\.downscale is a whole number .* found 0"),
        ({"background": "grey"}, r"dataset\.background is one of auto, white, black, found 'grey'"),
    ],
)
def test_values_that_no_loader_knows(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ViewOptions("s", **settings)


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_data_set_sets_what_its_loader_takes(dataset: str) -> None:
    """A setting that a yaml leaves out could only be set with ``+``, and its default would stand elsewhere."""
    node = node_of(dataset)
    assert takes_views(get_method(node._target_))
    check_targets(OmegaConf.to_container(node, resolve=False), "dataset")
    given = {str(key) for key in node} - {"_target_"}
    own = set(find_signature(node._target_).names) - {f.name for f in fields(ViewOptions)}
    # score_masks is masks=auto; the demo has its own splits, masks and surface; some formats have one kind of axes
    no_meaning = {
        "demo": {"name", "test_every", "val_every", "mask_folder", "mask_meaning", "truth", "axes"},
        # one view, whose held-out pixels are chosen by held_out, and which is always in memory
        "picture": {
            "axes",
            "cache",
            "image_ids",
            "mask_folder",
            "mask_meaning",
            "n_images",
            "n_test",
            "test_every",
            "truth",
            "val_every",
        },
        "colmap": {"axes"},
        "dtu": {"axes"},
        "bmvs": {"axes"},
        **{
            key: {"axes"}
            for key in ("nsvf", "deepvoxels", "linemod", "scannet", "scannetpp", "tanks_and_temples")
        },
    }
    needed = {f.name for f in fields(ViewOptions)} - {"score_masks"} - no_meaning.get(dataset, set())
    assert needed <= given
    assert own - given <= ({"official"} if dataset == "bmvs" else set())


@pytest.mark.parametrize("dataset", DATASETS)
def test_unknown_and_missing_keys_are_refused_before_anything_loads(dataset: str) -> None:
    target = node_of(dataset)._target_
    with pytest.raises(ConfigError, match=rf"^dataset\.downscle: {target} has no .*did you mean 'downscale'"):
        check_targets({"_target_": target, "scene": "s", "downscle": 2}, "dataset")
    with pytest.raises(ConfigError, match=rf"^dataset: {target} needs scene, which the config does not set"):
        check_targets({"_target_": target, "downscale": 2}, "dataset")
    with pytest.raises(ConfigError, match=r"^dataset\.views: .* has no argument 'views'"):
        check_targets({"_target_": target, "scene": "s", "views": {}}, "dataset")


def test_a_loader_of_ones_own() -> None:
    target = f"{HERE}.load"
    with pytest.raises(ConfigError, match=r"^dataset\.dpth: .* has no argument 'dpth'; did you mean 'depth'"):
        check_targets({"_target_": target, "scene": "s", "unit": "m", "dpth": 2}, "dataset")
    with pytest.raises(ConfigError, match=r"^dataset: .* needs scene, unit, which"):
        check_targets({"_target_": target}, "dataset")
    node = {"_target_": target, "scene": "s", "downscale": 4, "unit": "m", "depth": 3.0}
    check_targets(node, "dataset")
    assert build_scene(OmegaConf.create(node)).name == repr((ViewOptions("s", downscale=4), 3.0, "m"))


def test_a_loader_of_ones_own_with_flat_keys() -> None:
    node = {"_target_": f"{HERE}.load_flat", "scene": "s", "downscale": 4, "anything": [1]}
    check_targets(node, "dataset")
    assert build_scene(OmegaConf.create(node)).name == repr(("s", 4, {"anything": [1]}))


def test_a_data_set_of_ones_own_in_a_known_layout(tmp_path: Path) -> None:
    tiny_neus(tmp_path).rename(tmp_path / "mine_s")
    scene = build_scene(
        node_of("dtu", "dataset.name=mine", f"dataset.root={tmp_path}", "dataset.downscale=2")
    )
    assert isinstance(scene, Scene)
    assert (scene.dataset, scene.name, scene.world_unit) == ("mine", "s", "unit")


def test_the_demo_refuses_other_splits_than_its_own() -> None:
    node = node_of("demo", "scene=mug", "+dataset.test_every=8")
    with pytest.raises(ValueError, match=r"test_every=8 .*the demo has test and validation views of its own"):
        build_scene(node)


def test_options_are_read_without_torch() -> None:
    code = "import sys, isosweep.data.loading; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
