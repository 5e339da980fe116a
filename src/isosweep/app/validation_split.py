"""Whether a run will have validation views, which a sweeper chooses by: known before anything loads, without torch."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from isosweep.app.scene_folder import is_demo, is_ours, is_picture
from isosweep.data.folders import data_folder, present
from isosweep.data.loading import split_settings
from isosweep.record.reading import Unreadable, json_values

GIVEN = ("isosweep.data.blender.load", "isosweep.data.nerfstudio.load")
"""Loaders of formats that may name validation views themselves."""


def no_objective(cfg: DictConfig, elsewhere: bool = False) -> str | None:
    """Why a run has no validation PSNR to choose by; None if nothing is known against it.

    Args:
        elsewhere: whether the run starts on another machine. A data folder that is absent here may be there.
    """
    if cfg.debug.part is not None:
        return f"debug={cfg.debug.part} trains nothing, so there is no validation PSNR to choose by"
    dataset = cfg.dataset
    if not is_ours(dataset) or is_demo(dataset) or is_picture(dataset) or dataset.get("val_every"):
        return None
    if dataset._target_ in GIVEN and _given(dataset, elsewhere):
        return None
    return (
        f"the sweeper chooses by the PSNR of validation views, and {dataset.get('name')} scene '{cfg.scene}' has none "
        "(dataset.val_every=null): set dataset.val_every=10, which takes every tenth training view for validation"
    )


def _given(dataset: DictConfig, elsewhere: bool) -> bool:
    """Whether the scene's files name validation views, or cannot be seen from here."""
    views, _ = split_settings(OmegaConf.to_container(dataset, resolve=True))  # pyright: ignore[reportArgumentType]
    folders = present(views)
    if not folders:
        return elsewhere and not data_folder(views).is_dir()
    return any(
        (p / "transforms_val.json").is_file()
        or _listed(p / "transforms.json")
        or _listed(p / "transforms_train.json")
        for p in folders
    )


def _listed(file: Path) -> bool:
    """Whether a transforms.json lists validation views. One that cannot be read is left to the loader to explain."""
    if not file.is_file():
        return False
    try:
        found = json_values(file.read_bytes())
    except Unreadable:
        return True
    return not isinstance(found, dict) or bool(found.get("val_filenames"))
