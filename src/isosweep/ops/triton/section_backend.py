"""The functions of ``ops/opacity.py`` that a training step calls, as differentiable functions with one kernel each way.

Sums have a fixed order, so that gradients have the same bits in every run.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from isosweep.ops import opacity
from isosweep.ops.triton import section as triton_section
from isosweep.ops.triton.launch import checked, launch

BLOCK = 256
"""Sections of one program."""


def surface_sections(
    sdf: Tensor,
    gradient: Tensor,
    dirs: Tensor,
    dt: Tensor,
    v: Tensor,
    cap: Tensor,
    cos_anneal: Tensor,
    unit: bool,
) -> tuple[Tensor, Tensor]:
    """See ``isosweep.ops.surface_sections``."""
    return _Sections.apply(sdf, gradient, dirs, dt, v, cap, cos_anneal, unit)


def sample_points(origins: Tensor, dirs: Tensor, t: Tensor, ray_index: Tensor) -> tuple[Tensor, Tensor]:
    """See ``isosweep.ops.sample_points``. Where a gradient is asked for, PyTorch answers."""
    if torch.is_grad_enabled() and (origins.requires_grad or dirs.requires_grad or t.requires_grad):
        return opacity.sample_points(origins, dirs, t, ray_index)
    points, along = origins.new_empty(2, len(t), 3)
    launch(
        triton_section.points, (-(-len(t) // BLOCK),), checked(origins), checked(dirs), checked(t),
        ray_index.contiguous(), points, along, len(t), BLOCK=BLOCK,
    )  # fmt: skip
    return points, along


def density_alpha(density: Tensor, dt: Tensor) -> Tensor:
    """See ``isosweep.ops.density_alpha``."""
    return _DensityAlpha.apply(density, dt)


class _DensityAlpha(Function):
    @staticmethod
    def forward(ctx: Any, density: Tensor, dt: Tensor) -> Tensor:
        ctx.save_for_backward(density, dt)
        density, dt = checked(density), checked(dt)
        alpha = torch.empty_like(density)
        launch(triton_section.density, (-(-len(dt) // BLOCK),), density, dt, alpha, len(dt), BLOCK=BLOCK)
        return alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dalpha: Tensor) -> tuple[Tensor, None]:
        density, dt = (checked(x) for x in ctx.saved_tensors)
        ddensity = torch.empty_like(density)
        launch(
            triton_section.density_backward, (-(-len(dt) // BLOCK),), density, dt, checked(dalpha), ddensity,
            len(dt), BLOCK=BLOCK,
        )  # fmt: skip
        return ddensity, None


class _Sections(Function):
    @staticmethod
    def forward(
        ctx: Any,
        sdf: Tensor,
        gradient: Tensor,
        dirs: Tensor,
        dt: Tensor,
        v: Tensor,
        cap: Tensor,
        cos_anneal: Tensor,
        unit: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(sdf, gradient, dirs, dt, v, cap, cos_anneal)
        ctx.unit = unit
        ctx.set_materialize_grads(False)
        inputs = [checked(x) for x in (sdf, gradient, dirs, dt, v, cap, cos_anneal)]
        alpha, normals = torch.empty_like(inputs[0]), torch.empty_like(inputs[1])
        launch(
            triton_section.section, (-(-len(sdf) // BLOCK),), *inputs, alpha, normals, len(sdf),
            UNIT=unit, BLOCK=BLOCK,
        )  # fmt: skip
        return alpha, normals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dalpha: Tensor | None, dnormals: Tensor | None) -> tuple[Tensor | None, ...]:
        if dalpha is None and dnormals is None:
            return (None,) * 8
        inputs = [checked(x) for x in ctx.saved_tensors]
        sdf, gradient, v = inputs[0], inputs[1], inputs[4]
        programs = -(-len(sdf) // BLOCK)
        dsdf, dgradient = torch.empty_like(sdf), torch.empty_like(gradient)
        dv = sdf.new_empty(programs)
        given = [sdf if x is None else checked(x) for x in (dalpha, dnormals)]
        launch(
            triton_section.section_backward, (programs,), *inputs, *given, dsdf, dgradient, dv, len(sdf),
            UNIT=ctx.unit, WITH_ALPHA=dalpha is not None, WITH_NORMAL=dnormals is not None, BLOCK=BLOCK,
        )  # fmt: skip
        total = dv.sum().to(v.dtype).reshape(v.shape) if ctx.needs_input_grad[4] else None
        return dsdf, dgradient, None, None, total, None, None, None
