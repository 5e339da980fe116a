"""What a run is called, from its composed config alone: torch-free, so that a sweep is planned in a moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from isosweep.record import known_key, run_folder, run_key


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


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain types."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items()}


def label(names: Mapping[str, str]) -> str:
    """model-encoding, and the loss and sampler where they are not the model's own."""
    parts = [names["model"], names["encoding"]]
    parts += [names["loss"]] if names["loss"] not in (names["model"], "totalloss") else []
    parts += [names["sampler"]] if names["sampler"] not in ("occgrid", "occupancygrid") else []
    return "-".join(parts)


@dataclass(frozen=True)
class Identity:
    """What one run is called and where it is kept: worked out once from its config, then passed on."""

    names: Mapping[str, str]
    """Group -> the option's name, as typed."""
    config: dict[str, Any]
    """Resolved, as plain types, with the backend and the kind of device that were chosen."""
    key: str
    folder: Path

    @property
    def label(self) -> str:
        """The readable part of the folder's name."""
        return self.folder.name.rpartition("-s")[0]


def identify(
    cfg: DictConfig,
    *,
    backend: str,
    device: str,
    choices: Mapping[str, Any] | None = None,
    resolved: Mapping[str, Any] | None = None,
) -> Identity:
    """The identity of the run that ``cfg`` describes.

    A run that is there keeps its key and folder, even if an earlier version made the key in another way
    or the options were spelt differently; else the folder is the one that a new run gets.

    Args:
        backend, device: what 'auto' stands for on the machine that trains.
        choices: group -> option; None takes what Hydra composed.
        resolved: ``plain_config(cfg)`` where it is at hand: resolving is most of the time.
    """
    names = choice_names(cfg, choices)
    config = {**(plain_config(cfg) if resolved is None else resolved), "backend": backend, "device": device}
    parts = {"dataset": names["dataset"], "scene": cfg.scene, "label": label(names), "seed": cfg.seed}
    new = run_folder(Path(cfg.run.root), **parts, key=run_key(config))
    key = known_key(new.parent, cfg.seed, run_key(config))
    there = sorted(new.parent.glob(f"*-s{cfg.seed}-{key}")) if new.parent.is_dir() else []
    return Identity(names, config, key, there[0] if there else new)
