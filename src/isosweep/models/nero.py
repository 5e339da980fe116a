"""NeRO, stage one (Liu et al. 2023): NeuS with the shading of a microfacet surface, and the light that it hides.

Shapes: R rays, S packed samples.
"""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep import ops
from isosweep.bounds import Count
from isosweep.errors import InputError
from isosweep.models.base import Want
from isosweep.models.crossing import blocked, first_crossing
from isosweep.models.neus import NeuS, NeuSKnobs
from isosweep.types import Randomness, Rays, RenderOut, RowsOf, Sampled

OCCLUSION = "ray_extras.occlusion_error"
MATERIALS = ("albedo", "metallic", "roughness", "occlusion")
"""Extras of fields/microfacet.py, composited along rays where ``ray_extras.<name>`` is wanted."""


class NeRO(NeuS):
    """NeuS whose colour head is ``fields.microfacet.Microfacet``.

    Args:
        every: of the rays, one of so many is followed after its reflection.
        n_march: places along a reflected ray at which the distance is looked at.
        options: of ``NeuS``.
    """

    def __init__(self, every: Count = 4, n_march: Count = 32, **options: Any) -> None:
        super().__init__(**options)
        for name, value in (("every", every), ("n_march", n_march)):
            if value < 1:
                raise InputError(f"model.{name}={value}: set it to 1 or more")
        self.every, self.n_march = every, n_march
        self.provides |= {OCCLUSION, *(f"ray_extras.{name}" for name in MATERIALS)}

    def render(
        self,
        rays: Rays,
        sampled: Sampled,
        knobs: NeuSKnobs,
        want: Want,
        generator: Randomness | None = None,
    ) -> RenderOut:
        reads = want | {"sdf", "sdf_grad"} if OCCLUSION in want else want
        out = super().render(rays, sampled, knobs, reads, generator)
        extras = {
            name: _composited(out, out.weights, out.sample_extras[name])
            for name in MATERIALS
            if f"ray_extras.{name}" in want
        }
        if OCCLUSION in want:
            first = generator.first if isinstance(generator, RowsOf) else 0
            extras["occlusion_error"] = self._occlusion_error(rays, out, knobs, first)
        return replace(out, ray_extras={**out.ray_extras, **extras})

    def _occlusion_error(
        self, rays: Rays, out: RenderOut, knobs: NeuSKnobs, first: int
    ) -> Float[Tensor, " r"]:
        """every |sum_i w_i (s_i - s*)| for one of ``every`` rays, and 0 for the others and where no surface is met.

        s is the learned probability of occlusion, and s* is 1 if the reflected ray enters the surface again. The
        factor makes the mean over all rays that over the rays that are followed.

        Args:
            first: row of the joined batch at which these rays begin, so that parts of it follow the same rays.
        """
        assert out.sdf is not None
        assert out.sdf_grad is not None
        weights = out.weights.detach()
        with torch.no_grad():
            crossing = first_crossing(out.samples, out.sdf, out.sdf_grad)
            chosen = slice(-first % self.every, None, self.every)
            normal, dirs = crossing.normal[chosen], rays.dirs[chosen]
            points = rays.origins[chosen] + crossing.t[chosen, None] * dirs
            reflected = dirs - 2 * (dirs * normal).sum(-1, keepdim=True) * normal
            start = points + 0.01 * self.radius * normal
            met = blocked(lambda p: self.level(p, knobs), start, reflected, self.radius, self.n_march)
            truth = torch.zeros_like(crossing.t)
            truth[chosen] = met.to(truth.dtype)
            counts = torch.zeros_like(truth)
            counts[chosen] = crossing.met[chosen].to(truth.dtype) * self.every
        off = out.sample_extras["occlusion"] - truth[out.samples.ray_index]
        return _composited(out, weights, off).abs() * counts


def _composited(out: RenderOut, weights: Float[Tensor, " s"], values: Tensor) -> Tensor:
    """sum_i w_i v_i along each ray: [R] or [R, C] of values [S] or [S, C]."""
    rows = values if values.ndim > 1 else values[:, None]
    sums = ops.accumulate(weights, rows.contiguous(), out.samples.offsets)
    return sums if values.ndim > 1 else sums[:, 0]
