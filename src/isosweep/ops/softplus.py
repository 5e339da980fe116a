"""Softplus together with its slope, for fields whose gradient is an ordinary output."""

from typing import Any

import torch
from torch import Tensor

from isosweep.ops.backends import kernels


class _SoftplusWithSlope(torch.autograd.Function):
    """(softplus_beta(a), sigmoid(beta a)) from one exponential; the backward is differentiable."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, beta: float) -> tuple[Tensor, Tensor]:
        slope = torch.sigmoid(a * beta)
        # log1p(exp(-|beta a|)) = -log(max(slope, 1 - slope)), without a second exponential.
        value = torch.relu(a).sub_(torch.maximum(slope, 1 - slope).log_(), alpha=1 / beta)
        ctx.save_for_backward(slope)
        ctx.beta = beta
        ctx.set_materialize_grads(False)
        return value, slope

    @staticmethod
    def backward(ctx: Any, d_value: Tensor | None, d_slope: Tensor | None) -> tuple[Tensor | None, None]:
        (slope,) = ctx.saved_tensors
        if d_slope is None:
            return (None if d_value is None else slope * d_value), None
        # where a graph is being recorded (the backward of a backward) PyTorch answers, which can be
        # differentiated; no other backend promises that
        backward = softplus_backward if torch.is_grad_enabled() else kernels().softplus_backward
        return backward(slope, d_value, d_slope, ctx.beta), None


def softplus_with_slope(a: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    return _SoftplusWithSlope.apply(a, beta)  # pyright: ignore[reportReturnType]


def softplus_backward(slope: Tensor, d_value: Tensor | None, d_slope: Tensor, beta: float) -> Tensor:
    """Gradient in a of (softplus_beta(a), slope = sigmoid(beta a)): slope (d_value + beta d_slope (1 - slope))."""
    bent = (beta * d_slope) * (1 - slope)
    return slope * (bent if d_value is None else bent + d_value)
