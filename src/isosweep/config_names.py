"""What a run is called, from its composed config alone: torch-free, so that a sweep is planned in a moment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from isosweep.record import run_folder


def choice_names(cfg: DictConfig, choices: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Group -> the option's name, as typed; from the target's name where Hydra did not compose."""
    names = {
        group: str(cfg[group]["_target_"]).split(".")[-1].lower()
        for group in ("model", "encoding", "sampler", "loss")
    }
    names["dataset"] = "demo"
    if choices is None and HydraConfig.initialized():
        choices = HydraConfig.get().runtime.choices
    if choices is not None:
        names.update({g: str(choices[g]) for g in names if choices.get(g)})
    if "name" in cfg.dataset:
        # one loader serves several data sets, the user's own among them
        names["dataset"] = str(cfg.dataset.name)
    return names


def plain_config(cfg: DictConfig, *, backend: str | None = None, device: str | None = None) -> dict[str, Any]:
    """The resolved config as plain types; ``backend`` and ``device`` replace 'auto' by what was chosen."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    config = {str(k): v for k, v in plain.items()}
    chosen = {"backend": backend, "device": device}
    return config | {name: value for name, value in chosen.items() if value is not None}


def label(names: Mapping[str, str]) -> str:
    """model-encoding, and the loss and sampler where they are not the model's own."""
    parts = [names["model"], names["encoding"]]
    parts += [names["loss"]] if names["loss"] not in (names["model"], "totalloss") else []
    parts += [names["sampler"]] if names["sampler"] not in ("occgrid", "occupancygrid") else []
    return "-".join(parts)


def folder_of(cfg: DictConfig, key: str, names: Mapping[str, str] | None = None) -> Path:
    """The run's folder: the one that carries the key already, however it was spelt then, or a new one."""
    names = choice_names(cfg) if names is None else names
    new = run_folder(
        Path(cfg.run.root),
        dataset=names["dataset"],
        scene=cfg.scene,
        label=label(names),
        seed=cfg.seed,
        key=key,
    )
    there = sorted(new.parent.glob(f"*-s{cfg.seed}-{key}")) if new.parent.is_dir() else []
    return there[0] if there else new
