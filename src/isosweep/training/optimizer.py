"""Adam with a learning rate for each kind of parameter, found by the parameter's name."""

import difflib
from fnmatch import fnmatchcase

import torch
from torch import nn

from isosweep.config import schedules
from isosweep.config.settings import OptimSettings
from isosweep.errors import InputError

KINDS: tuple[tuple[str, str], ...] = (
    ("*", "networks"),
    ("background.*", "background"),
    ("*table", "tables"),
    ("background.*table", "background_tables"),
    ("*log_sharpness", "sharpness"),
)
"""Pattern of a parameter's name -> its kind; the last pattern that fits decides. So a new network is one of
``networks``, and a new encoding's ``table`` one of ``tables``, without a word here."""
DECAYED = ("networks", "background")
"""Kinds that weight decay may shrink: an entry of a table, or the sharpness, is a value and no weight."""


def kind_of(name: str) -> str:
    """The kind of a parameter, by its dotted name."""
    return next(kind for pattern, kind in reversed(KINDS) if fnmatchcase(name, pattern))


def parameter_groups(model: nn.Module, settings: OptimSettings) -> list[dict[str, object]]:
    """Groups as torch's optimisers take them: params, lr, base_lr, weight_decay, and a name.

    A parameter's rate is its kind's (``lr_tables``, ``lr_networks``, ``lr_background``, ``lr_sharpness``), unless
    patterns of ``settings.rates`` fit its name: then the last of them decides. Groups stand in the order in which the
    model names their first parameter, which is part of a checkpoint.

    Raises:
        ValueError: a pattern fits no parameter.
    """
    rates = {
        "tables": settings.lr_tables,
        "networks": settings.lr_networks,
        "sharpness": settings.lr_sharpness,
        "background_tables": settings.lr_tables,
        "background": settings.lr_background,
    }
    names = [name for name, _ in model.named_parameters()]
    for pattern in settings.rates:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern.strip("*."), names, n=3, cutoff=0.3) or names[:3]
            raise InputError(
                f"optim.rates: no parameter of this model fits '{pattern}'; it has {', '.join(near)} and others "
                "(debug=model lists all)"
            )
    groups: dict[str, dict[str, object]] = {}
    for name, parameter in model.named_parameters():
        kind = kind_of(name)
        own = [pattern for pattern in settings.rates if fnmatchcase(name, pattern)]
        rate = settings.rates[own[-1]] if own else rates[kind]
        title = f"{kind} {own[-1]}" if own else kind
        fresh = {
            "params": [],
            "lr": rate,
            "base_lr": rate,
            "weight_decay": settings.weight_decay if kind in DECAYED else 0.0,
            "name": title,
        }
        members = groups.setdefault(title, fresh)["params"]
        assert isinstance(members, list)
        members.append(parameter)
    return list(groups.values())


def make_optimizer(model: nn.Module, settings: OptimSettings) -> torch.optim.Optimizer:
    """Adam or AdamW over ``parameter_groups``, in one fused kernel."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if settings.name not in kinds:
        raise InputError(f"optim.name is one of {', '.join(kinds)}, found {settings.name!r}")
    beta1, beta2 = settings.betas
    groups = parameter_groups(model, settings)
    return kinds[settings.name](groups, betas=(beta1, beta2), eps=settings.eps, fused=True)


def rate_factor(settings: OptimSettings, step: int, max_steps: int) -> float:
    """Warm-up times schedule, the factor on every learning rate."""
    factor = schedules.value(settings.schedule, step, max_steps)
    warm = settings.warmup * max_steps
    if step < warm:
        factor *= settings.warmup_start + (1 - settings.warmup_start) * step / warm
    return factor
