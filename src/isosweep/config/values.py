"""The groups of values (train, optim, eval, export, tracker, view, debug) as dataclasses, and their check.

This module imports no torch, so that a sweep's planner can check every job before the first one starts.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from isosweep.config import crop, schedules
from isosweep.config.check import ConfigError
from isosweep.config.errors import did_you_mean
from isosweep.config.settings import (
    DebugSettings,
    EvalSettings,
    ExportSettings,
    OptimSettings,
    TrackerSettings,
    TrainSettings,
    ViewSettings,
)


@dataclass(frozen=True)
class Settings:
    """The value-only groups of one run, resolved and typed."""

    train: TrainSettings
    optim: OptimSettings
    eval: EvalSettings
    export: ExportSettings
    tracker: TrackerSettings
    view: ViewSettings
    debug: DebugSettings


def checked_settings(cfg: DictConfig) -> Settings:
    """The value-only groups of ``cfg`` as dataclasses, after the check of their values.

    Raises:
        ConfigError: a value is not allowed: not among its choices, below its minimum, or no mapping to rates.
        InputError: ``optim.schedule`` is not a schedule, or ``export.crop`` no box.
    """
    groups: dict[str, Any] = {f.name: OmegaConf.to_object(cfg[f.name]) for f in fields(Settings)}
    settings = Settings(**groups)
    check_settings(settings)
    return settings


def check_settings(settings: Settings) -> None:
    """Raise ConfigError that names every value its field does not allow, or InputError for a bad schedule or crop.

    Without this check, most of these values would be noticed only after training.
    """
    wrong = [
        message
        for group in fields(settings)
        for message in _wrong_values(getattr(settings, group.name), group.name)
    ]
    wrong += _wrong_rates(settings.optim.rates)
    if settings.optim.args is not None and not isinstance(settings.optim.args, Mapping):
        wrong.append(
            f"optim.args={settings.optim.args}: give a mapping from arguments of the optimiser to values, such as "
            "{momentum: 0.9}."
        )
    if not 0 < settings.view.share < 1:
        wrong.append(f"view.share={settings.view.share}: give a part of the time, between 0 and 1.")
    if wrong:
        raise ConfigError(" ".join(wrong))
    schedules.check(settings.optim.schedule, "optim.schedule")
    crop.box_of(settings.export.crop)


def _wrong_rates(rates: Any) -> Iterator[str]:
    """A message for each entry of ``optim.rates`` that is no rate."""
    if rates is None:
        return
    if not isinstance(rates, Mapping):
        yield (
            f"optim.rates={rates}: give a mapping from patterns of parameter names to learning rates, such as "
            "{coarse.*: 1e-3}."
        )
        return
    for pattern, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < math.inf:
            yield f"optim.rates: the rate of '{pattern}' is {rate}: give a number of 0 or more."


def _wrong_values(settings: Any, group: str) -> Iterator[str]:
    """A message for each value that its field's metadata forbids. A field's default is always allowed."""
    for field in fields(settings):
        value, key = getattr(settings, field.name), f"{group}.{field.name}"
        if value == field.default:
            continue
        choices, least = field.metadata.get("choices"), field.metadata.get("least")
        below = field.metadata.get("below")
        if choices is not None:
            for one in value if isinstance(value, list) else [value]:
                form = field.metadata.get("form")
                if one not in choices and not (form and re.fullmatch(form, str(one))):
                    known = ["null" if c is None else c for c in choices]
                    known += [field.metadata["words"]] if form else []
                    yield f"{key}={one} is none of {', '.join(known)}{did_you_mean(str(one), known)}"
        if least is None or value is None:
            continue
        if below is not None and not least <= value < below:
            yield f"{key}={value}: give at least {least}, and less than {below}."
        elif value < least:
            yield f"{key}={value}: give {least} or more."
