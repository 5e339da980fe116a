"""Checks of a composed config before torch is imported and before anything loads.

A ``_target_`` node is compared with the signature of its target, which is read from the source file. So a key that the
constructor does not have fails within a fraction of a second.
"""

import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from isosweep.config.errors import ConfigError, did_you_mean, unknown_key
from isosweep.config.numbers import wrong_arguments
from isosweep.config.schema import MODES, Config
from isosweep.config.signatures import SPECIAL, find_signature, targets
from isosweep.config.values import plain_config, wrong_settings

PLAIN_GROUPS = ("optim", "train", "eval", "export", "tracker")
BUILT_GROUPS = ("dataset", "encoding", "sampler", "model", "loss")


def check(cfg: DictConfig) -> dict[str, Any]:
    """Check a composed config.

    Returns: the resolved config as plain types.

    Raises:
        ConfigError: nothing reads a key, a ``_target_`` does not exist or lacks an argument, there is no such mode, or
            values are not allowed; the message names all of these.
    """
    known = {f.name for f in fields(Config)}
    for key in cfg:
        if str(key) not in known:
            hint = did_you_mean(str(key), known)
            raise ConfigError(
                f"there is no top-level key '{key}'{hint} Top-level keys: {', '.join(sorted(known))}."
            )
    if cfg.mode not in MODES:
        raise ConfigError(f"mode={cfg.mode} is none of {', '.join(MODES)}{did_you_mean(cfg.mode, MODES)}")
    for name in (*PLAIN_GROUPS, "run", "view", "debug"):
        check_plain(cfg, name)
    for name in BUILT_GROUPS:
        node = OmegaConf.to_container(cfg[name], resolve=False)
        if not isinstance(node, dict) or "_target_" not in node:
            raise ConfigError(f"the group {name} has no _target_: name the class or function it builds")
        check_targets(node, name)
    return check_values(cfg)


def check_values(cfg: DictConfig) -> dict[str, Any]:
    """Check every value that its declaration bounds: those of the plain groups, and the arguments of all targets.

    Returns: the resolved config as plain types.

    Raises:
        ConfigError: some are not allowed; the message names each, and what is.
    """
    wrong = wrong_settings(cfg)
    plain = plain_config(cfg)
    for name in BUILT_GROUPS:
        wrong += wrong_arguments(plain[name], name)
    if wrong:
        raise ConfigError(" ".join(wrong))
    return plain


def one_option_each(overrides: Iterable[str]) -> None:
    """Check that no override chooses two options of a group, such as ``tracker=[wandb,tensorboard]``.

    Hydra would merge both without a word, and the last would win. ``sweep``, ``experiment`` and ``debug`` are recipes,
    which may be merged.

    Raises:
        ConfigError: an override chooses several options.
    """
    for override in overrides:
        found = re.fullmatch(r"\+*/?([\w/]+)(?:@[\w.]+)?=\[(.*)\]", override.strip())
        if found is None or found[1] not in (*PLAIN_GROUPS, *BUILT_GROUPS):
            continue
        hint = f"; several trackers at once: 'tracker.name=[{found[2]}]'" if found[1] == "tracker" else ""
        several = f"; a sweep over several: -m {found[1]}={found[2]}"
        raise ConfigError(f"{override}: {found[1]} takes one option{several}{hint}")


def require_scene(cfg: DictConfig) -> None:
    """Check that a scene is chosen.

    Raises:
        ConfigError: none is; the message lists the scenes in the data folder.
    """
    if cfg.scene is not None:
        return
    root = Path(str(cfg.dataset.get("root") or "."))
    prefix = f"{cfg.dataset.get('name')}_"
    found = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    own = [name.removeprefix(prefix) for name in found if name.startswith(prefix)]
    there = f"{root} has {', '.join((own or found)[:12])}" if found else f"{root} has none: set dataset.root="
    raise ConfigError(f"which scene? Set scene=<name>; {there}")


def check_plain(cfg: DictConfig, name: str) -> None:
    """Check the keys of a plain group.

    Raises:
        ConfigError: the group has a key that its dataclass does not have.
    """
    hints = {f.name: f.default_factory for f in fields(Config) if f.name == name}
    allowed = {f.name for f in fields(hints[name])}  # pyright: ignore[reportArgumentType]
    for key in cfg[name]:
        if key not in allowed:
            raise ConfigError(unknown_key(OmegaConf.structured(Config), f"{name}.{key}") or key)


def check_targets(node: Any, key: str) -> None:
    """Compare every ``_target_`` node below ``node`` (unresolved) with the signature of its target.

    Args:
        key: of the node, for messages.

    Raises:
        ConfigError: there is no such target, it has no argument of a given name, or a required one is not given.
    """
    for path, found in targets(node, key):
        target = str(found["_target_"])
        signature = find_signature(target, path)
        given = {str(k) for k in found if k not in SPECIAL}
        for key in sorted(given - set(signature.names)):
            if not signature.accepts_any:
                raise ConfigError(
                    f"{path}.{key}: {target} has no argument '{key}'{did_you_mean(key, signature.names)} "
                    f"Arguments: {', '.join(signature.names)}."
                )
        missing = sorted(signature.required - given)
        if missing and not found.get("_partial_", False):
            raise ConfigError(f"{path}: {target} needs {', '.join(missing)}, which the config does not set")
