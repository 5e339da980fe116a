"""What a run is called, and where it lies, from its composed config alone.

This module imports no torch, so that a sweep is planned in a moment.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from isosweep.config.init_content import with_content
from isosweep.config.method_version import with_version
from isosweep.config.methods import is_foreign, method_title
from isosweep.config.values import plain_config
from isosweep.record import known_key, run_folder, run_key
from isosweep.record.folder import recorded_config
from isosweep.record.metrics import validated


def choice_names(cfg: DictConfig, choices: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Group -> the name of the chosen option; from the target's name if Hydra did not compose the config."""
    names = {
        group: str(cfg[group]["_target_"]).split(".")[-1].lower()
        for group in ("model", "encoding", "sampler", "loss")
    }
    names["dataset"] = "demo"
    if choices is None and HydraConfig.initialized():
        choices = HydraConfig.get().runtime.choices
    if choices is not None:
        names.update({g: str(choices[g]) for g in names if choices.get(g)})
    if is_foreign(cfg):
        names |= {
            "model": method_title(cfg.method.name, cfg.method.model),
            "encoding": "",
            "sampler": "",
            "loss": "",
        }
    if "name" in cfg.dataset:
        # one loader may load several data sets, and the user's own
        names["dataset"] = str(cfg.dataset.name)
    return names


def label(names: Mapping[str, str]) -> str:
    """<model>-<encoding>, followed by the loss and the sampler if they are not the model's defaults.

    Of a method that is not ours, its name alone.
    """
    if not names["encoding"]:
        return names["model"]
    parts = [names["model"], names["encoding"]]
    parts += [names["loss"]] if names["loss"] not in (names["model"], "totalloss") else []
    parts += [names["sampler"]] if names["sampler"] not in ("occgrid", "occupancygrid") else []
    return "-".join(parts)


def tracker_switched_off_by(choices: Mapping[str, Any], overrides: Iterable[str]) -> str | None:
    """The debug option (``debug=tiny``) that has switched the tracker off; None if nothing or the user has.

    Args:
        choices: group -> chosen option, as Hydra composed them.
        overrides: of this run, as on a command line.
    """
    said = any(o.lstrip("+~").partition("=")[0] in ("tracker", "tracker.name") for o in overrides)
    debug = choices.get("debug")
    return f"debug={debug}" if debug and choices.get("tracker") == "none" and not said else None


@dataclass(frozen=True)
class Identity:
    """What one run is called, and where it lies; resolved once from its config."""

    names: Mapping[str, str]
    """Group -> the name of the chosen option."""
    config: dict[str, Any]
    """The resolved config in plain types, with the backend and the kind of device that were chosen."""
    key: str
    """The run key: 16 hexadecimal digits."""
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

    A run that exists keeps its key and its folder, even if an earlier version made the key in another way, or options
    had other names. Otherwise the folder is that of a new run.

    Args:
        backend, device: what 'auto' means on the machine that trains.
        choices: group -> chosen option; None takes those that Hydra composed.
        resolved: ``plain_config(cfg)``, if the caller has it: resolving takes most of the time.
    """
    names = choice_names(cfg, choices)
    config = {**(plain_config(cfg) if resolved is None else resolved), "backend": backend, "device": device}
    config = with_version(config)
    found = _found(cfg, names, config)
    if config["dataset"].get("val_every") != "auto" or found.folder.exists():
        return found
    # of a data set with a validation split of its own, a run of val_every=null is the same one
    before = _found(cfg, names, config | {"dataset": config["dataset"] | {"val_every": None}})
    return before if validated(before.folder) else found


def _found(cfg: DictConfig, names: Mapping[str, str], config: dict[str, Any]) -> Identity:
    """The run of a resolved config: the one that is there, or a new one."""
    parts = {"dataset": names["dataset"], "scene": cfg.scene, "label": label(names), "seed": cfg.seed}
    scene_folder = run_folder(Path(cfg.run.root), **parts, key="").parent
    by_path = config
    config = with_content(config, (recorded_config(p) for p in _runs(scene_folder, cfg.seed, "*")))
    key = known_key(scene_folder, cfg.seed, run_key(config))
    if config != by_path and not _runs(scene_folder, cfg.seed, key):
        older = known_key(scene_folder, cfg.seed, run_key(by_path))  # before content counted
        key = older if _runs(scene_folder, cfg.seed, older) else key
    there = _runs(scene_folder, cfg.seed, key)
    new = run_folder(Path(cfg.run.root), **parts, key=key)
    return Identity(names, config, key, there[0] if there else new)


def _runs(scene_folder: Path, seed: int, key: str) -> list[Path]:
    """The folders of the runs with this seed whose key fits the pattern ``key``."""
    return sorted(scene_folder.glob(f"*-s{seed}-{key}")) if scene_folder.is_dir() else []
