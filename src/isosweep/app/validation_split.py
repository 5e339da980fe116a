"""Whether a run has validation views, which a sweeper chooses by: before anything loads, and of a scene. No torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from isosweep.app.scene_folder import is_demo, is_ours, is_picture
from isosweep.data.folders import data_folder, present
from isosweep.data.loading import AUTO, split_settings
from isosweep.data.splits import FEWEST
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
        "(dataset.val_every=null): set dataset.val_every=auto, which takes a few training views for validation, or 10 "
        "for every tenth"
    )


def views_line(splits: Mapping[str, Sequence[int]], val_every: int | str | None) -> str:
    """How many views a scene has for what, in one line of the log, and why none validate."""
    train, val, test = (splits.get(name, ()) for name in ("train", "val", "test"))
    held_out = [f"{len(val)} validate"] if val else []
    held_out += [f"{len(test)} test"] if set(test).isdisjoint(train) else []
    line = ", ".join([f"views: {len(train)} train", *held_out])
    if val:
        return line
    if val_every == AUTO:
        return f"{line}, none validate (fewer than {FEWEST} train)"
    return f"{line}, none validate (dataset.val_every={'null' if val_every is None else val_every})"


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
