"""``train=auto``, the default: the published schedule (``train=full``) on a GPU, ``train=fast`` on a CPU.

The schedule is part of what is trained, so it is chosen before the run key is made: while Hydra composes a config, by
the kind of device on which the run will compute. conf/train/auto.yaml and conf/config.yaml ask this file for it. A
process looks at its own machine, without torch; a planner says ``composing_for`` where runs start elsewhere.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from omegaconf import OmegaConf

from isosweep.runtime import gpus

SCHEDULES = {"cpu": "fast", "cuda": "full"}
"""Kind of device -> what ``train=auto`` is there."""

_said: ContextVar[str | None] = ContextVar("kind of device", default=None)


def here() -> str:
    """The kind of device that ``device=auto`` is on this machine, as far as it is known without torch."""
    return "cuda" if gpus.visible_gpus() else "cpu"


def kind() -> str:
    """The kind of device for which configs are composed now."""
    return _said.get() or here()


@contextmanager
def composing_for(device: str | None) -> Iterator[None]:
    """Compose configs for a device ('cuda', 'cpu', 'cuda:1'); None and 'auto' are this machine's."""
    token = _said.set(None if device in (None, "auto") else str(device).split(":")[0])
    try:
        yield
    finally:
        _said.reset(token)


def device_named(overrides: Sequence[str]) -> str | None:
    """The value of the last ``device=`` of a command line; None where there is none, or where it is swept."""
    found = [m[1] for text in overrides if (m := re.fullmatch(r"\+{0,2}device=(\w+(?::\d+)?)", text.strip()))]
    return found[-1] if found else None


def is_auto(choices: Mapping[str, Any]) -> bool:
    """Whether the schedule was left to the machine, by what Hydra chose for each group."""
    return choices.get("train") == "auto"


def told(kind: str, device: str, asked: str | None = None) -> str:
    """What ``train=auto`` is and why, in one line: 'train=fast, because there is no GPU'.

    Args:
        kind: of the device of the run.
        device: the setting ``device``.
        asked: kind of device that a launcher asks for, where the run is on another machine.
    """
    if device != "auto":
        why = f"device={device}"
    elif asked is not None:
        who = "the launcher asks for" if kind == asked else "an earlier start found"
        why = f"{who} {'a' if kind == 'cuda' else 'no'} GPU"
    elif kind != here():
        why = f"torch {'can use a GPU' if kind == 'cuda' else 'cannot use the GPU'} here"
    else:
        why = f"there is {'a' if kind == 'cuda' else 'no'} GPU"
    return f"train={SCHEDULES[kind]}, because {why}"


def _file() -> str:
    return f"/train/{SCHEDULES[kind()]}"


def _tables(train: Any, model: Any) -> str:
    """The hash grid that nobody named: instant-nsr-pl's for NeRF or for NeuS where the schedule is the full one."""
    chosen = SCHEDULES[kind()] if train == "auto" else train
    if chosen != "full":
        return "hashgrid"
    return "hashgrid_ngp" if str(model).startswith("nerf") else "hashgrid_large"


OmegaConf.register_new_resolver("schedule_here", _file, replace=True)
OmegaConf.register_new_resolver("tables", _tables, replace=True)
