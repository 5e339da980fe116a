"""Checks the ``tracker.*`` settings before training, and opens the trackers that they name."""

import difflib
import importlib.util
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from isosweep.config.settings import TrackerSettings
from isosweep.errors import InputError, MissingLibraryError
from isosweep.record import read_metrics
from isosweep.record.writing import writable
from isosweep.trackers import agents
from isosweep.trackers.tensorboard_backend import TensorBoard
from isosweep.trackers.trackio_backend import Trackio
from isosweep.trackers.wandb_backend import Wandb
from isosweep.trackers.wandb_names import LONGEST_TAG, require_wandb_names
from isosweep.trackers.wrapper import Tracker

BACKENDS = {"wandb": Wandb, "trackio": Trackio, "tensorboard": TensorBoard}
INSTALL = {"wandb": "wandb", "trackio": "isosweep[trackio]", "tensorboard": "isosweep[tensorboard]"}
MODES = ("auto", "online", "offline", "disabled")
CONFIG_DEPTH = 3
"""How deep the config is nested in a tracker; W&B's tables show deeper mappings badly."""


def tracker_names(settings: TrackerSettings) -> list[str]:
    """The names in ``tracker.name``, which is one name or a list, without 'none' and without repetitions."""
    names = [settings.name] if isinstance(settings.name, str) else list(settings.name or [])
    return list(dict.fromkeys(str(name) for name in names if name != "none"))


def check(settings: TrackerSettings) -> list[str]:
    """Names of the trackers to run; each is known and installed. None with ``tracker.mode=disabled``.

    Raises:
        ValueError: as ``check_names``.
        ModuleNotFoundError: a tracker's package is not installed.
    """
    names = check_names(settings)
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingLibraryError(
                f"tracker.name={name}, but the package {name} is not installed: pip install '{INSTALL[name]}' "
                f"(in a checkout: pip install -e '.[{name}]'), or choose another tracker, or tracker=none"
            )
    return names


def check_names(settings: TrackerSettings) -> list[str]:
    """Names of the trackers to run. It imports no torch, and no tracker's package need be installed.

    Raises:
        ValueError: a tracker or a mode that does not exist, or a project, entity or tag that W&B refuses.
    """
    if settings.mode not in MODES:
        raise InputError(f"no tracker.mode={settings.mode!r}: there are {', '.join(MODES)}")
    names = tracker_names(settings)
    known = [*BACKENDS, "none"]
    for name in names:
        if name not in BACKENDS:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise InputError(
                f"no tracker {name!r}{hint} There are {', '.join(known)}, and lists: [wandb,tensorboard]"
            )
    if settings.mode == "disabled":
        return []
    if settings.mode == "auto" and os.environ.get("WANDB_MODE") == "disabled":
        names = [name for name in names if name != "wandb"]
    if "wandb" in names:
        require_wandb_names(settings.project, settings.entity, settings.tags)
    return names


def open_tracker(
    settings: TrackerSettings,
    *,
    run_key: str,
    run_dir: Path,
    name: str,
    title: str = "",
    several: bool = False,
    group: str | None,
    job_type: str,
    tags: list[str],
    config: dict[str, Any],
) -> Tracker:
    """Start the trackers that ``settings`` names, in the background; returns at once.

    All starts of a run are one run in each tracker, whose id is the run key. A run that is trained again
    (``run.force``) is a new run there, with the id <key>-2, so that nothing of the first is overwritten.

    Args:
        run_dir: the run's folder.
        name: the run's name in trackers where a name must be unique: that of its folder.
        title: what a person reads in place of it where a tracker has both.
        several: whether one command has started several runs, of which this is one.
        group: the sweep, None for a run outside any.
        job_type: the mode (train, eval, ...).
        config: the resolved config as plain types.

    Raises:
        ValueError, ModuleNotFoundError: as ``check``.
    """
    names = check(settings)
    moved_aside = sum((p / "metrics.jsonl").is_file() for p in run_dir.glob("previous-*"))
    suffix = f"-{moved_aside + 1}" if moved_aside else ""
    about: dict[str, Any] = {
        "name": f"{name}{suffix}",
        "group": group,
        "job_type": job_type,
        "tags": list(tags),
    }
    about["title"] = f"{title} ({moved_aside + 1})" if title and moved_aside else title or about["name"]
    about["config"] = {**limit_depth(_renamed(config)), "method": method_name(name, run_key)}
    if "wandb" in names:
        agents.settle(f"{run_key}{suffix}", several=several)
    about = writable(about)
    backends = [
        BACKENDS[n](settings, run_id=f"{run_key}{suffix}", run_dir=run_dir, about=about) for n in names
    ]
    metrics = run_dir / "metrics.jsonl"
    return Tracker(
        *backends,
        timeout=settings.timeout,
        history=lambda: read_history(metrics),
    )


def _renamed(config: dict[str, Any]) -> dict[str, Any]:
    """The config with another program's settings as ``external``: ``method`` is the name of every run in trackers."""
    return {"external" if key == "method" else key: value for key, value in config.items()}


def all_tags(automatic: Iterable[str], own: Iterable[str]) -> list[str]:
    """A run's tags: the automatic ones, then the user's, each once; automatic ones are cut to what W&B takes."""
    return list(dict.fromkeys([*(tag[:LONGEST_TAG] for tag in automatic if tag), *map(str, own)]))


def method_name(name: str, run_key: str) -> str:
    """Model and encoding: the run's name without its seed and key. Trackers group runs by it."""
    return re.sub(rf"-s\d+-{re.escape(run_key)}$", "", name)


def read_history(metrics: Path) -> Iterable[tuple[int, Mapping[str, float]]]:
    """Step and scalars of a run's metrics.jsonl, one item for each step; none if nothing was logged yet."""
    merged: dict[int, dict[str, float]] = {}
    for line in read_metrics(metrics) if metrics.is_file() else []:
        scalars = {k: v for k, v in line.items() if k not in ("step", "time_s")}
        merged.setdefault(int(line["step"]), {}).update(scalars)
    return sorted(merged.items())


def limit_depth(config: Mapping[str, Any], depth: int = CONFIG_DEPTH) -> dict[str, Any]:
    """The same config, nested at most ``depth`` deep; deeper keys are joined with dots."""
    if depth > 1:
        return {str(k): limit_depth(v, depth - 1) if isinstance(v, Mapping) else v for k, v in config.items()}
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{key}.{inner}": v for inner, v in limit_depth(value, 1).items()}
        else:
            flat[str(key)] = value
    return flat
