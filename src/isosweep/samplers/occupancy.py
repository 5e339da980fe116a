"""Marching through a grid of cells that may hold something (Mueller et al. 2022, 5.4 and E.2)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from isosweep import ops
from isosweep.samplers.base import (
    Length,
    OccupancyFn,
    PointFn,
    Probe,
    Sampler,
    density_alpha,
    jitter,
    sample_points,
)
from isosweep.types import Randomness, Rays, Sampled, Samples

FIRST_WINDOW = 8
"""Samples of a ray whose density is asked first on a CPU; every later round asks for twice as many."""


class OccupancyGrid(Sampler):
    """Fixed steps through the box, kept where the cell's remembered opacity passes a threshold.

    Every ``update_every`` steps cells are probed at a random point inside and remember
    max(decay * old, new); during the first ``warmup`` steps all of them. Later ``share`` of them are drawn, and no
    more than one cell for ``samples_per_probe`` samples that the training evaluates, so that the grid never costs
    more than a fixed part of a step. Half of the draws are among all cells, half among the occupied ones, where rays
    still pay for a cell that has become empty (Instant-NGP, E.2).
    A cell is occupied where its value exceeds min(mean over cells, ``threshold``). If no ray meets
    an occupied cell, the batch is sampled uniformly instead, so that a run cannot starve.

    Args:
        radius: half the side of the box, normalised units.
        resolution: cells along an axis.
        update_every: steps between two updates.
        decay, share, samples_per_probe: of an update, see above.
        threshold: opacity of a section, in [0, 1].
        warmup: steps, absolute on purpose: it bounds what a random start may miss.
        max_samples: most samples of one ray.
        rescue_samples: sections a ray of the uniform fallback.
        cone: sections are at least ``cone`` times as long as their distance from the camera (Instant-NGP, E.1: 1/256
            for large scenes); 0 makes all of them equal.
        early_stop: the transmittance at which a ray ends (Instant-NGP, E.1; nerfacc: 1e-4). Sections behind that are
            dropped, for which the density is asked once more, without gradient. 0 keeps them, and so does a model
            without a density.
    """

    values: Tensor
    occupied: Tensor

    def __init__(
        self,
        radius: float = 1.0,
        resolution: int = 64,
        update_every: int = 16,
        warmup: int = 256,
        decay: float = 0.95,
        threshold: float = 0.01,
        share: float = 0.25,
        samples_per_probe: float = 2.0,
        max_samples: int = 1024,
        rescue_samples: int = 32,
        cone: float = 0.0,
        early_stop: float = 0.0,
    ) -> None:
        super().__init__()
        self.radius, self.resolution = radius, resolution
        self.update_every, self.warmup, self.decay = update_every, warmup, decay
        self.threshold, self.share, self.samples_per_probe = threshold, share, samples_per_probe
        self.max_samples, self.rescue_samples = max_samples, rescue_samples
        self.cone, self.early_stop = cone, early_stop
        self.register_buffer("values", torch.zeros(resolution**3))
        self.register_buffer("occupied", torch.ones((resolution,) * 3, dtype=torch.bool))

    @torch.no_grad()
    def update(self, step: int, occupancy: OccupancyFn, generator: torch.Generator, samples: int = 0) -> None:
        if step % self.update_every:
            return
        cells = self._cells(step, samples, generator)
        r = self.resolution
        corner = torch.stack([cells % r, cells // r % r, cells // (r * r)], dim=-1)
        shift = torch.rand(len(cells), 3, generator=generator, device=cells.device)
        points = ((corner + shift) * (2 / r) - 1) * self.radius
        new = torch.cat([occupancy(chunk, 2 * self.radius / r) for chunk in points.split(65536)])
        # A cell may be drawn twice: both draws write the same decayed value, and amax keeps the larger new one.
        self.values[cells] = self.values[cells] * self.decay
        self.values.scatter_reduce_(0, cells, new.float(), "amax")
        bound = self.values.mean().clamp(max=self.threshold)
        self.occupied = (self.values > bound).reshape(r, r, r)

    def _cells(self, step: int, samples: int, generator: torch.Generator) -> Int64[Tensor, " p"]:
        """The cells that an update probes; some may be drawn twice."""
        n, device = self.resolution**3, self.values.device
        if step < self.warmup:
            return torch.arange(n, device=device)
        count = max(1, int(self.share * n))
        if samples:
            count = min(count, max(1, int(self.update_every * samples / self.samples_per_probe)))
        anywhere = torch.randint(n, (count - count // 2,), generator=generator, device=device)
        # The k-th occupied cell is the first with k + 1 occupied ones up to it; no size depends on how many there are.
        so_far = self.occupied.reshape(-1).cumsum(0, dtype=torch.int32)
        draw = torch.rand(count // 2, generator=generator, device=device, dtype=torch.float64)
        rank = (draw * so_far[-1]).int() + 1
        return torch.cat([anywhere, torch.searchsorted(so_far, rank).clamp(max=n - 1)])

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
        kept = ops.visible(alpha, samples.offsets, self.early_stop)
        before = torch.cat([kept.new_zeros(1, dtype=torch.long), kept.long().cumsum(0)])
        return Samples(samples.ray_index[kept], samples.t[kept], samples.dt[kept], before[samples.offsets])

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
