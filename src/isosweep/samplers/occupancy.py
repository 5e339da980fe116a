"""Marching through a grid of cells that may hold something (Mueller et al. 2022, 5.4 and E.2)."""

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep import ops
from isosweep.samplers.base import (
    OccupancyFn,
    PointFn,
    Probe,
    Sampler,
    density_alpha,
    jitter,
    sample_points,
)
from isosweep.types import Rays, Sampled, Samples


class OccupancyGrid(Sampler):
    """Fixed steps through the box, kept where the cell's remembered opacity passes a threshold.

    Every ``update_every`` steps cells are probed at a random point inside and remember
    max(decay * old, new); during the first ``warmup`` steps all of them, later ``share`` of them.
    A cell is occupied where its value exceeds min(mean over cells, ``threshold``). If no ray meets
    an occupied cell, the batch is sampled uniformly instead, so that a run cannot starve.

    Args:
        radius: half the side of the box, normalised units.
        resolution: cells along an axis.
        update_every: steps between two updates.
        decay, share: of an update, see above.
        threshold: opacity of a section, in [0, 1].
        warmup: steps, absolute on purpose: it bounds what a random start may miss.
        max_samples: most samples of one ray.
        rescue_samples: sections a ray of the uniform fallback.
        cone: sections are at least ``cone`` times as long as their distance from the camera (Instant-NGP, E.1: 1/256
            for large scenes); 0 makes all of them equal.
        early_stop: the transmittance at which a ray ends (Instant-NGP, E.1; nerfacc: 1e-4). Sections behind that are
            dropped, for which the density of all sections is asked once more, without gradient. 0 keeps them, and so
            does a model without a density.
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
        max_samples: int = 1024,
        rescue_samples: int = 32,
        cone: float = 0.0,
        early_stop: float = 0.0,
    ) -> None:
        super().__init__()
        self.radius, self.resolution = radius, resolution
        self.update_every, self.warmup, self.decay = update_every, warmup, decay
        self.threshold, self.share = threshold, share
        self.max_samples, self.rescue_samples = max_samples, rescue_samples
        self.cone, self.early_stop = cone, early_stop
        self.register_buffer("values", torch.zeros(resolution**3))
        self.register_buffer("occupied", torch.ones((resolution,) * 3, dtype=torch.bool))

    @torch.no_grad()
    def update(self, step: int, occupancy: OccupancyFn, generator: torch.Generator) -> None:
        if step % self.update_every:
            return
        n, device = self.resolution**3, self.values.device
        if step < self.warmup:
            cells = torch.arange(n, device=device)
        else:
            cells = torch.randint(n, (max(1, int(self.share * n)),), generator=generator, device=device)
        shift = torch.rand(len(cells), 3, generator=generator, device=device)
        r = self.resolution
        corner = torch.stack([cells % r, cells // r % r, cells // (r * r)], dim=-1)
        points = ((corner + shift) * (2 / r) - 1) * self.radius
        new = torch.cat([occupancy(chunk, 2 * self.radius / r) for chunk in points.split(65536)])
        # One cell may be drawn twice: amax keeps the larger value in any order of writing.
        probed = torch.zeros_like(self.values).scatter_reduce_(0, cells, new.float(), "amax")
        touched = torch.zeros_like(self.values, dtype=torch.bool)
        touched[cells] = True
        self.values = torch.where(touched, torch.maximum(self.values * self.decay, probed), self.values)
        bound = torch.minimum(self.values.mean(), self.values.new_tensor(self.threshold))
        self.occupied = (self.values > bound).reshape(r, r, r)

    def sample(
        self,
        rays: Rays,
        t_near: Float[Tensor, " r"],
        t_far: Float[Tensor, " r"],
        step: float,
        probe: Probe,
        generator: torch.Generator | None,
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
        """The samples before which a ray still lets more than ``early_stop`` of the light through."""
        index = samples.ray_index
        points, _ = sample_points(rays, samples)
        alpha = density_alpha(density(points), samples)
        kept = ops.visible(alpha, samples.offsets, self.early_stop)
        before = torch.cat([kept.new_zeros(1, dtype=torch.long), kept.long().cumsum(0)])
        return Samples(index[kept], samples.t[kept], samples.dt[kept], before[samples.offsets])

    def _march(
        self, rays: Rays, t_near: Tensor, t_far: Tensor, step: float, shift: Tensor, occupied: Tensor
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
