"""An optimiser with a learning rate for each kind of parameter; the kind follows from the parameter's name."""

import difflib
import inspect
import math
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

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
"""(pattern of a parameter's name, kind). The last pattern that fits decides. So the parameters of a new network are
'networks', and the ``table`` of a new encoding is one of the 'tables', without an edit here."""


def kind_of(name: str) -> str:
    """The kind of a parameter, from its dotted name."""
    return next(kind for pattern, kind in reversed(KINDS) if fnmatchcase(name, pattern))


def parameter_groups(model: nn.Module, settings: OptimSettings) -> list[dict[str, object]]:
    """The model's parameters in groups for torch's optimisers: params, lr, base_lr, weight_decay, and a name.

    A parameter's learning rate is that of its kind (``lr_tables``, ``lr_networks``, ``lr_background``,
    ``lr_sharpness``). If patterns of ``settings.rates`` fit its name, the last of them decides instead. The groups are
    in the order in which the model names their first parameters; a checkpoint depends on this order.

    Raises:
        InputError: a pattern fits no parameter.
    """
    rates = {
        "tables": settings.lr_tables,
        "networks": settings.lr_networks,
        "sharpness": settings.lr_sharpness,
        "background_tables": settings.lr_tables,
        "background": settings.lr_background,
    }
    decays = {
        "tables": settings.weight_decay_tables,
        "networks": settings.weight_decay,
        "sharpness": 0.0,  # a value, which nothing but the photographs may change
        "background_tables": settings.weight_decay_tables,
        "background": settings.weight_decay,
    }
    names, own_rates = [name for name, _ in model.named_parameters()], settings.rates or {}
    for pattern in own_rates:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern.strip("*."), names, n=3, cutoff=0.3) or names[:3]
            raise InputError(
                f"optim.rates: no parameter of this model fits '{pattern}'; it has {', '.join(near)} and others "
                "(debug=model lists all)"
            )
    groups: dict[str, dict[str, object]] = {}
    for name, parameter in model.named_parameters():
        kind = kind_of(name)
        own = [pattern for pattern in own_rates if fnmatchcase(name, pattern)]
        rate = own_rates[own[-1]] if own else rates[kind]
        title = f"{kind} {own[-1]}" if own else kind
        fresh = {
            "params": [],
            "lr": rate,
            "base_lr": rate,
            "weight_decay": decays[kind],
            "name": title,
        }
        members = groups.setdefault(title, fresh)["params"]
        assert isinstance(members, list)
        members.append(parameter)
    return list(groups.values())


FUSED = ("Adam", "AdamW")
"""Optimisers whose step is one kernel for all parameters, on CPU and card. Others do without, also where torch has one
for some devices only."""


TOLD_TO_THE_COMPILER = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods of torch's optimisers whose first call tells torch's compiler to leave them alone."""


def without_compiler(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The same optimiser, which does not import torch's compiler.

    torch wraps the methods of its optimisers for ``torch.compile``. The wrappers import ``torch._dynamo``, and with it
    sympy and triton: that takes as long as the import of torch itself, at the start of every run, and nothing is
    compiled here. A step has no gradient, as within the wrapper.
    """
    bare: dict[str, object] = {name: inspect.unwrap(getattr(kind, name)) for name in TOLD_TO_THE_COMPILER}
    bare["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), bare)


def make_optimizer(model: nn.Module, settings: OptimSettings) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), or another of ``OPTIMIZERS`` (config/settings.py).

    It is over ``parameter_groups``. ``betas`` and ``eps`` are given to optimisers that have such a number,
    ``settings.args`` to all of them.

    Raises:
        InputError: the optimiser has no such argument, or refuses a value; a pattern of ``settings.rates`` fits no
            parameter.
    """
    name = next(name for name in vars(torch.optim) if name.lower() == settings.name and name != settings.name)
    kind = without_compiler(getattr(torch.optim, name))
    groups = parameter_groups(model, settings)
    known = inspect.signature(kind).parameters
    own: dict[str, object] = dict(settings.args or {})
    arguments: dict[str, object] = {}
    if "betas" in known:
        arguments["betas"] = tuple(settings.betas)
    if "eps" in known and isinstance(known["eps"].default, float):  # Adafactor's are two
        arguments["eps"] = settings.eps
    if name in FUSED:
        arguments["fused"] = True
    free = [argument for argument in known if argument not in ("params", "lr", "weight_decay")]
    if unknown := sorted(set(own) - set(free)):
        raise InputError(
            f"optim.args: {name} has no argument '{unknown[0]}'; it has {', '.join(free)}. Learning rates and weight "
            "decays are optim.lr_* and optim.weight_decay*"
        )
    try:
        return kind(groups, **(arguments | own))
    except (TypeError, ValueError) as error:
        raise InputError(f"optim: {name} refuses {arguments | own}: {error}") from error


def rate_factor(settings: OptimSettings, step: int, max_steps: int) -> float:
    """The factor on every learning rate at a step: schedule times warm-up.

    The warm-up rises from ``warmup_start`` to 1 over the first ``warmup`` max_steps steps: linearly, or as the first
    quarter of a sine (the code of Barron et al. 2021, mip-NeRF).
    """
    factor = schedules.value(settings.schedule, step, max_steps)
    warm = settings.warmup * max_steps
    if step < warm:
        risen = step / warm
        if settings.warmup_shape == "sine":
            risen = math.sin(0.5 * math.pi * risen)
        factor *= settings.warmup_start + (1 - settings.warmup_start) * risen
    return factor


OF_THE_SHAPE = (
    "exp_avg",
    "exp_avg_sq",
    "max_exp_avg_sq",
    "momentum_buffer",
    "square_avg",
    "grad_avg",
    "sum",
    "prev",
)
"""Entries of an optimiser's state that have their parameter's shape, in torch's optimisers."""


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over the state of a checkpoint. torch compares the numbers of parameters alone; here shapes and options too.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the state does not fit.
    """
    options = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for own, group in zip(options, optimizer.param_groups, strict=True):
        for name, value in own.items():
            if (
                name != "params"
                and isinstance(value, int | float)
                and not isinstance(group[name], int | float)
            ):
                raise TypeError(f"{name} is {type(group[name]).__name__}")
        for parameter in group["params"]:
            for name, value in optimizer.state.get(parameter, {}).items():
                if name in OF_THE_SHAPE and value is not None and value.shape != parameter.shape:
                    raise ValueError(
                        f"{name} has shape {tuple(value.shape)}, its parameter {tuple(parameter.shape)}"
                    )
