"""The groups of values (train, optim, eval, export, tracker, view, debug) as dataclasses, and their check.

This module imports no torch, so that a sweep's planner can check every job before the first one starts.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from isosweep.config import crop
from isosweep.config.errors import ConfigError, did_you_mean
from isosweep.config.numbers import allowed_in, wrong, wrong_fields
from isosweep.config.schema import Config
from isosweep.config.settings import (
    DebugSettings,
    EvalSettings,
    ExportSettings,
    OptimSettings,
    TrackerSettings,
    TrainSettings,
    ViewSettings,
)
from isosweep.errors import InputError
from isosweep.runtime.number import is_number


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
        ConfigError: values are not allowed; the message names each of them.
    """
    settings = settings_of(cfg)
    check_settings(settings)
    return settings


def settings_of(cfg: DictConfig) -> Settings:
    """The value-only groups of ``cfg`` as dataclasses, as they are."""
    groups: dict[str, Any] = {f.name: OmegaConf.to_object(cfg[f.name]) for f in fields(Settings)}
    return Settings(**groups)


def wrong_settings(cfg: DictConfig) -> list[str]:
    """A message for each value of the plain groups, of ``run`` and of the seed, that is not allowed."""
    run: Any = OmegaConf.to_object(cfg.run)
    seed = allowed_in(next(field for field in fields(Config) if field.name == "seed"))
    assert seed is not None, "it is a number"
    return [*wrong(cfg.seed, "seed", seed), *_wrong(settings_of(cfg)), *wrong_fields(run, "run")]


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain types."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items()}


def check_settings(settings: Settings) -> None:
    """Raise ConfigError that names every value its field does not allow, and what it does.

    Without this check, most of these values would be noticed only after training.
    """
    if found := list(_wrong(settings)):
        raise ConfigError(" ".join(found))


def _wrong(settings: Settings) -> Iterator[str]:
    for group in fields(settings):
        yield from wrong_choices(getattr(settings, group.name), group.name)
        yield from wrong_fields(getattr(settings, group.name), group.name)
    optim = settings.optim
    if len(optim.betas) != 2:
        yield f"optim.betas={optim.betas}: give two numbers, such as [0.9, 0.99]."
    yield from _wrong_rates(optim.rates)
    if optim.args is not None and not isinstance(optim.args, Mapping):
        yield (
            f"optim.args={optim.args}: give a mapping from arguments of the optimiser to values, such as "
            "{momentum: 0.9}."
        )
    try:
        crop.box_of(settings.export.crop)
    except InputError as error:
        yield f"{error}."


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
        if not is_number(rate) or rate < 0:
            yield f"optim.rates: the rate of '{pattern}' is {rate}: give a number of 0 or more."


def wrong_choices(settings: Any, group: str) -> Iterator[str]:
    """A message for each value that is none of its field's choices. A field's default is always allowed."""
    for field in fields(settings):
        value, key = getattr(settings, field.name), f"{group}.{field.name}"
        if is_dataclass(value):
            yield from wrong_choices(value, key)
        choices, form = field.metadata.get("choices"), field.metadata.get("form")
        if value == field.default or choices is None:
            continue
        for one in value if isinstance(value, list) else [value]:
            if one not in choices and not (form and re.fullmatch(form, str(one))):
                known = ["null" if c is None else c for c in choices]
                known += [field.metadata["words"]] if form else []
                yield f"{key}={one} is none of {', '.join(known)}{did_you_mean(str(one), known)}"
