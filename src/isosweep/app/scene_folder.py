"""What can be known of a run's scene before anything loads: whether its folder is there, and whether counts make sense.

A sweep's planner asks for every job, so this file does not import torch.
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from isosweep.config.errors import did_you_mean
from isosweep.data.folders import DEMO_SCENES, places

COUNTS = ("n_images", "n_test", "test_every", "val_every")
"""Keys of ``dataset`` that are null or at least 1."""


def wrong_scene(cfg: DictConfig, elsewhere: bool = False) -> str | None:
    """Why a run cannot find its scene, or takes no views of it; None if nothing is known against it.

    Loaders of other packages are not asked: their scenes may lie anywhere.

    Args:
        elsewhere: whether the run starts on another machine. A data folder that is absent here may be there.
    """
    data = cfg.dataset
    target = str(data.get("_target_", ""))
    if not target.startswith("isosweep.data."):
        return None
    for key in COUNTS:
        value = data.get(key)
        if isinstance(value, int) and value < 1:
            return f"dataset.{key}={value}: give 1 or more, or null"
    if target == "isosweep.data.demo.load":
        return _wrong_demo(data, str(cfg.scene))
    return _wrong_folder(data, str(cfg.scene), elsewhere)


def _wrong_demo(data: Any, scene: str) -> str | None:
    if data.path is not None or scene in DEMO_SCENES:
        return None
    return f"no demo scene '{scene}'{did_you_mean(scene, DEMO_SCENES)} The demo has: {', '.join(DEMO_SCENES)}"


def _wrong_folder(data: Any, scene: str, elsewhere: bool) -> str | None:
    tried = places(data.name, scene, data.path, Path(data.root))
    if any(folder.is_dir() for folder in tried):
        return None
    base = Path(data.root) if data.path is None else Path(data.path).parent
    if not base.is_dir():
        if elsewhere:
            return None
        what = f"no {data.name} scene '{scene}': {base} does not exist"
        return f"{what}; set dataset.root=, dataset.path= or ISOSWEEP_DATA"
    there = sorted(
        {
            entry.name.removeprefix(f"{data.name}_")
            for folder in (base, base / data.name)
            if folder.is_dir()
            for entry in folder.iterdir()
            if entry.is_dir() and not entry.name.startswith(".")
        }
    )
    listed = f"{', '.join(there[:12])}{', ...' if len(there) > 12 else ''}" or "no folder"
    return f"no {data.name} scene '{scene}' in {base}{did_you_mean(scene, there)} It has: {listed}"
