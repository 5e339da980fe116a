"""What can be known of a run's scene before anything loads: whether it is there, and whether its options make sense.

A sweep's planner asks for every job, so this file does not import torch.
"""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from isosweep.data.folders import data_folder, unknown_demo, unknown_folder
from isosweep.data.loading import split_settings
from isosweep.data.picture_files import unknown_picture
from isosweep.errors import InputError


def is_ours(dataset: Mapping[Any, Any]) -> bool:
    """Whether the loader of a dataset node is one of this package."""
    return str(dataset.get("_target_", "")).startswith("isosweep.data.")


def is_demo(dataset: Mapping[Any, Any]) -> bool:
    """Whether a dataset node is the demo, whose scenes are made and need no folder."""
    return dataset.get("_target_") == "isosweep.data.demo.load"


def is_picture(dataset: Mapping[Any, Any]) -> bool:
    """Whether a dataset node is a single picture, whose scene is a file."""
    return dataset.get("_target_") == "isosweep.data.picture.load"


def wrong_scene(cfg: DictConfig, elsewhere: bool = False) -> str | None:
    """Why a run cannot find its scene, or cannot take its views; None if nothing is known against it.

    A loader of another package is not asked: its scenes may lie anywhere, and its options may mean anything.

    Args:
        elsewhere: whether the run starts on another machine. A data folder that is absent here may be there.
    """
    if not is_ours(cfg.dataset):
        return None
    try:
        views, _ = split_settings(OmegaConf.to_container(cfg.dataset, resolve=True))  # pyright: ignore[reportArgumentType]
    except InputError as error:
        return str(error)
    if is_demo(cfg.dataset):
        return unknown_demo(views.scene) if views.path is None else None
    if is_picture(cfg.dataset):
        return None if elsewhere else unknown_picture(views)
    if elsewhere and not data_folder(views).is_dir():
        return None
    return unknown_folder(views)
