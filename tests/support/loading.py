"""Scenes as the app loads them: the defaults of a data set's yaml, and the split of its flat keys."""

from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_method

from isosweep.data.loading import split_settings
from isosweep.types import Scene

DATASETS = Path(__file__).resolve().parents[2] / "conf" / "dataset"


def load_scene(dataset: str, scene: str, **settings: Any) -> Scene:
    """The scene that ``dataset=<dataset> scene=<scene>`` loads with masks; ``settings`` replace keys of the yaml."""
    node = yaml.safe_load((DATASETS / f"{dataset}.yaml").read_text())["dataset"]
    loader = get_method(node.pop("_target_"))
    fixed = {k: v for k, v in node.items() if not (isinstance(v, str) and v.startswith("${"))}
    views, own = split_settings({**fixed, "scene": scene, **settings})
    return loader(views, **own)
