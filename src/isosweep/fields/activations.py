"""Functions at the end of a network, by name: ``activation('trunc_exp')``.

Names of instant-nsr-pl that a config may have: ``none``, ``sigmoid``, ``tanh``, ``relu``, ``softplus``, ``exp``,
``trunc_exp``, ``lin2srgb``; and with a number ``scale2`` (clamp to [0, 2], then divide by 2), ``clamp2`` (clamp to
[0, 2]), ``mul2`` (times 2), ``+2`` and ``-2`` (shifted). A list of names with ``|`` between them is applied in order:
``softplus|lin2srgb``.
"""

import re
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from isosweep.errors import InputError

Activation = Callable[[Tensor], Tensor]


class _TruncatedExp(torch.autograd.Function):
    """exp(x) with the derivative exp(min(x, 15)), so that a large input cannot make the gradient overflow."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        return torch.exp(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return grad * torch.exp(x.clamp(max=15.0))


def truncated_exp(x: Tensor) -> Tensor:
    """exp(x) for any shape, with the derivative exp(min(x, 15)) in the backward pass.

    Source: ``trunc_exp`` of the code of Instant-NGP (Mueller et al. 2022).
    """
    return _TruncatedExp.apply(x)  # pyright: ignore[reportReturnType]


def lin2srgb(x: Tensor) -> Tensor:
    """Linear light to sRGB for any shape, clamped to [0, 1] (IEC 61966-2-1).

    12.92 x up to 0.0031308, and 1.055 x^(1 / 2.4) - 0.055 above.
    """
    # the root's slope at 0 is infinite, and torch.where would multiply it by zero
    root = 1.055 * x.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(x > 0.0031308, root, 12.92 * x).clamp(0.0, 1.0)


def _same(x: Tensor) -> Tensor:
    return x


NAMED: dict[str, Activation] = {
    "none": _same,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softplus": F.softplus,
    "exp": truncated_exp,  # as 'exp' has always meant here: plain exp overflows in the first steps
    "trunc_exp": truncated_exp,
    "lin2srgb": lin2srgb,
}
_NUMBER = r"\d+(?:\.\d*)?(?:e[+-]?\d+)?"
_WITH_NUMBER = re.compile(rf"(scale|clamp|mul|\+|-)({_NUMBER})")
NEVER_NEGATIVE = ("sigmoid", "relu", "softplus", "exp", "trunc_exp", "lin2srgb", "scale", "clamp")
"""Names, without their number, of what is 0 or more for every input."""


def activation(names: str, where: str = "activation") -> Activation:
    """The function with a name of the module's docstring; ``where`` is its key, for the message.

    Raises:
        InputError: there is no such name.
    """
    steps = [_single(name, where) for name in names.split("|")]

    def applied(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return applied


def density_activation(names: str, where: str = "density activation") -> Activation:
    """As ``activation``, for a density, which must not be negative.

    Raises:
        InputError: there is no such name, or what the last one returns may be negative.
    """
    found = activation(names, where)
    last = names.split("|")[-1]
    with_number = _WITH_NUMBER.fullmatch(last)
    if (with_number[1] if with_number else last) not in NEVER_NEGATIVE:
        raise InputError(
            f"{where} '{names}' may be negative, which no density is: use one of {', '.join(NEVER_NEGATIVE)} at its end"
        )
    return found


def _single(name: str, where: str) -> Activation:
    if name in NAMED:
        return NAMED[name]
    found = _WITH_NUMBER.fullmatch(name)
    if found is None:
        raise InputError(
            f"{where} has no function '{name}': use one of {', '.join(NAMED)}, scale2, clamp2, mul2, +2 or -2 with any "
            "number in place of 2, or several with | between them"
        )
    kind, number = found[1], float(found[2])
    if kind in ("scale", "clamp") and number == 0:
        raise InputError(f"{where} '{name}' is 0 everywhere: give a number above 0")
    if kind == "scale":
        return lambda x: x.clamp(0.0, number) / number
    if kind == "clamp":
        return lambda x: x.clamp(0.0, number)
    if kind == "mul":
        return lambda x: x * number
    return lambda x: x + (number if kind == "+" else -number)
