"""Marching through a grid of cells that may hold something (Mueller et al. 2022, 5.4 and E.2)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from isosweep import ops
from isosweep.bounds import Count, GridCells, NotNegative, Part, Positive, PositiveShare, Share, Whole
from isosweep.samplers.base import (
    Length,
    OccupancyFn,
    PointFn,
    Probe,
    Sampler,
    density_alpha,
    jitter,
    kept_samples,
    sample_points,
)
from isosweep.samplers.cells import Cells
from isosweep.types import Randomness, Rays, Sampled, Samples

FIRST_WINDOW = 8
"""Samples of a ray whose density is asked first on a CPU; every later round asks for twice as many."""


class OccupancyGrid(Cells, Sampler):
    """Fixed steps through the box, kept where the cell is occupied (``Cells``).

    If no ray meets an occupied cell, the batch is sampled uniformly instead, so that a run cannot starve.

    Args:
        radius: half the side of the box, normalised units.
        resolution, update_every, warmup, decay, threshold, share, samples_per_probe: see ``Cells``.
        max_samples: most samples of one ray.
        rescue_samples: sections a ray of the uniform fallback.
        cone: sections are at least ``cone`` times as long as their distance from the camera (Instant-NGP, E.1: 1/256
            for large scenes); 0 makes all of them equal.
        early_stop: the transmittance at which a ray ends (Instant-NGP, E.1; nerfacc: 1e-4). Sections behind that are
            dropped, for which the density is asked once more, without gradient. 0 keeps them, and so does a model
            without a density.
    """

    in_box = True

    def __init__(
        self,
        radius: Positive = 1.0,
        resolution: GridCells = 64,
        update_every: Count = 16,
        warmup: Whole = 256,
        decay: Share = 0.95,
        threshold: Share = 0.01,
        share: PositiveShare = 0.25,
        samples_per_probe: Positive = 2.0,
        max_samples: Count = 1024,
        rescue_samples: Count = 32,
        cone: NotNegative = 0.0,
        early_stop: Part = 0.0,
    ) -> None:
        super().__init__(resolution, update_every, warmup, decay, threshold, share, samples_per_probe)
        self.radius, self.max_samples, self.rescue_samples = radius, max_samples, rescue_samples
        self.cone, self.early_stop = cone, early_stop

    def update(self, step: int, occupancy: OccupancyFn, generator: torch.Generator, samples: int = 0) -> None:
        side = 2 * self.radius / self.resolution
        self.refresh(step, lambda points: occupancy(points * self.radius, side), generator, samples)

    def sample(
        self,
        rays: Rays,
        t_near: Float[Tensor, " r"],
        t_far: Float[Tensor, " r"],
        step: Length,
        probe: Probe,
        generator: Randomness | None,
    ) -> Sampled:
        shift = jitter(len(rays), generator, rays.origins.device)
        samples = self._march(rays, t_near, t_far, step, shift, self.occupied)
        if len(samples) == 0 and generator is not None:
            span = float((t_far - t_near).clamp_min(0.0).max()) if len(rays) else 0.0
            if span > 0:
                everything = torch.ones_like(self.occupied)
                coarse = span / self.rescue_samples
                samples = self._march(rays, t_near, t_far, coarse, shift, everything)
        if self.early_stop and probe.density is not None:
            samples = self._visible(rays, samples, probe.density)
        return Sampled(samples)

    @torch.no_grad()
    def _visible(self, rays: Rays, samples: Samples, density: PointFn) -> Samples:
        """The samples before which a ray still lets more than ``early_stop`` of the light through.

        On a card the density is asked at all samples at once. On a CPU, rays are followed from the camera on, and the
        density behind the end of a ray is never asked for: most rays of a trained model end after a few samples.
        """
        if not rays.origins.is_cuda:
            return _first(samples, self._visible_ahead(rays, samples, density))
        alpha = density_alpha(density(sample_points(rays, samples)[0]), samples)
        return kept_samples(samples, ops.visible(alpha, samples.offsets, self.early_stop))

    def _visible_ahead(self, rays: Rays, samples: Samples, density: PointFn) -> Int64[Tensor, " r"]:
        """How many samples [R] of each ray are visible, asked window by window. They are its first ones."""
        device, dtype = samples.t.device, samples.t.dtype
        count, start = samples.offsets.diff(), samples.offsets[:-1]
        visible = torch.zeros_like(count)
        ray = torch.nonzero(count)[:, 0]
        light, first, window = torch.ones(len(ray), dtype=dtype, device=device), 0, FIRST_WINDOW
        while len(ray):
            place, many = first + torch.arange(window, device=device), count[ray][:, None]
            there = place < many
            # beyond the end of a ray its last sample is asked again, and as a section of length 0 it stops no light
            index = (start[ray][:, None] + torch.minimum(place, many - 1)).reshape(-1)
            dt = samples.dt[index] * there.reshape(-1)
            asked = Samples(ray.repeat_interleave(window), samples.t[index], dt, samples.offsets)
            alpha = density_alpha(density(sample_points(rays, asked)[0]), asked).to(dtype)
            after = light[:, None] * (1 - alpha).reshape(there.shape).cumprod(1)
            before = torch.cat([light[:, None], after[:, :-1]], dim=1)
            visible[ray] += ((before > self.early_stop) & there).sum(1)
            goes_on = (many[:, 0] > first + window) & (after[:, -1] > self.early_stop)
            ray, light = ray[goes_on], after[goes_on, -1]
            first, window = first + window, 2 * window
        return visible

    def _march(
        self, rays: Rays, t_near: Tensor, t_far: Tensor, step: Length, shift: Tensor, occupied: Tensor
    ) -> Samples:
        return ops.march(
            rays.origins,
            rays.dirs,
            t_near,
            t_far,
            occupied,
            self.radius,
            step,
            shift,
            self.max_samples,
            self.cone,
        )


def _first(samples: Samples, n: Int64[Tensor, " r"]) -> Samples:
    """The first ``n`` samples of each ray."""
    offsets = torch.cat([n.new_zeros(1), n.cumsum(0)])
    rays = torch.arange(len(n), device=n.device)
    index = torch.arange(int(offsets[-1]), device=n.device)
    index = index + (samples.offsets[:-1] - offsets[:-1]).repeat_interleave(n)
    return Samples(rays.repeat_interleave(n), samples.t[index], samples.dt[index], offsets)
