"""Cells of space that remember what was met in them (Mueller et al. 2022, 5.4 and E.2)."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from isosweep.bounds import Count, GridCells, Positive, PositiveShare, Share, Whole


class Cells(nn.Module):
    """The cells of the cube [-1, 1]^3, each with the opacity that was last met in it.

    Every ``update_every`` steps cells are probed at a random point inside and remember
    max(decay * old, new); during the first ``warmup`` steps all of them. Later ``share`` of them are drawn, and no
    more than one cell for ``samples_per_probe`` samples that the training evaluates, so that the cells never cost
    more than a fixed part of a step. Half of the draws are among all cells, half among the occupied ones, where rays
    still pay for a cell that has become empty (Instant-NGP, E.2).
    A cell is occupied where its value exceeds min(mean over cells, ``threshold``); at first all of them are.

    Args:
        resolution: cells along an axis.
        update_every: steps between two updates.
        warmup: steps, absolute on purpose: it bounds what a random start may miss.
        decay, share, samples_per_probe: of an update, see above.
        threshold: opacity of a section, in [0, 1].
    """

    values: Tensor
    occupied: Tensor

    def __init__(
        self,
        resolution: GridCells = 64,
        update_every: Count = 16,
        warmup: Whole = 256,
        decay: Share = 0.95,
        threshold: Share = 0.01,
        share: PositiveShare = 0.25,
        samples_per_probe: Positive = 2.0,
    ) -> None:
        super().__init__()
        self.resolution, self.update_every, self.warmup, self.decay = resolution, update_every, warmup, decay
        self.threshold, self.share, self.samples_per_probe = threshold, share, samples_per_probe
        self.register_buffer("values", torch.zeros(resolution**3))
        self.register_buffer("occupied", torch.ones((resolution,) * 3, dtype=torch.bool))

    @torch.no_grad()
    def refresh(
        self, step: int, opacity: Callable[[Tensor], Tensor], generator: torch.Generator, samples: int = 0
    ) -> None:
        """Probe cells, if it is the step for it.

        Args:
            step: of the training.
            opacity: points [P, 3] in [-1, 1]^3 -> opacity of a section there [P].
            generator: of the cells and of the points in them.
            samples: that each training step aims at; 0: no bound.
        """
        if step % self.update_every:
            return
        cells = self._drawn(step, samples, generator)
        r = self.resolution
        corner = torch.stack([cells % r, cells // r % r, cells // (r * r)], dim=-1)
        shift = torch.rand(len(cells), 3, generator=generator, device=cells.device)
        points = (corner + shift) * (2 / r) - 1
        new = torch.cat([opacity(chunk) for chunk in points.split(65536)])
        # A cell may be drawn twice: both draws write the same decayed value, and amax keeps the larger new one.
        self.values[cells] = self.values[cells] * self.decay
        self.values.scatter_reduce_(0, cells, new.float(), "amax")
        bound = self.values.mean().clamp(max=self.threshold)
        self.occupied = (self.values > bound).reshape(r, r, r)

    def _drawn(self, step: int, samples: int, generator: torch.Generator) -> Int64[Tensor, " p"]:
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

    def holds(self, points: Float[Tensor, "*p 3"]) -> Bool[Tensor, "*p"]:
        """Whether the cell around each point of [-1, 1]^3 is occupied; points outside belong to the nearest cell."""
        r = self.resolution
        x, y, z = (((points + 1) * (r / 2)).long().clamp_(0, r - 1)).unbind(-1)
        return self.occupied[z, y, x]
