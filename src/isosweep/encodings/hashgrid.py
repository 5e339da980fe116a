"""Multiresolution hash grid (Mueller et al. 2022); its levels may be switched on one after the other."""

import math
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep import ops
from isosweep.bounds import Bound, Count, NotNegative, Share, Whole
from isosweep.encodings.base import Encoding, Pullback
from isosweep.errors import InputError


class HashGrid(Encoding):
    """[2 u - 1, features of every level], trilinearly interpolated from grids of growing resolution.

    Sources: Instant-NGP (Mueller et al. 2022), section 3, with the layout of tiny-cuda-nn (``ops.GridSpec``). With
    ``start_level`` > 0 the grid is progressive (Neuralangelo, Li et al. 2023): the other levels are
    switched on one by one, at equal intervals, until ``grow_until``. A level that is off has neither value nor
    gradient. ``count_from`` keeps apart how many levels are on and how far the growth has come, which is what
    ``cell_size`` follows: Neuralangelo has four levels on at first, and a stencil of the size of the first's cells.

    Args:
        n_levels, n_features, log2_size, base_resolution, per_level_scale: as in tiny-cuda-nn.
        start_level: number of levels that are on at step 0; 0 means all of them.
        grow_until: fraction of max_steps at which the last level is switched on.
        grow_every: number of steps from one level to the next, for a published recipe; replaces ``grow_until``.
        grow_after: fraction of max_steps before which nothing grows; with ``grow_every`` a number of steps.
        count_from: levels that the growth begins with, from 0 to ``start_level``; None for ``start_level``. Levels
            beyond them that are on at the start wait until the count has come to them.
        init: the table starts uniform in [-init, init].
        blend: fade a new level in linearly over the interval before the next, rather than at once.
        include_xyz: the first three features are the point.

    Raises:
        InputError: ``start_level`` is not in [0, n_levels], ``count_from`` is not in [0, start_level], or
            ``grow_after`` is negative or not before ``grow_until``.
    """

    def __init__(
        self,
        n_levels: Annotated[int, Bound(least=1, most=64)] = 12,
        n_features: Annotated[int, Bound(least=1, most=64)] = 2,
        log2_size: Annotated[int, Bound(least=1, most=30)] = 15,
        base_resolution: Count = 16,
        per_level_scale: Annotated[float, Bound(least=1)] = 1.38,
        start_level: Whole = 0,
        grow_until: Share = 0.5,
        grow_every: Count | None = None,
        init: NotNegative = 1e-4,
        blend: bool = False,
        grow_after: NotNegative = 0.0,
        count_from: Whole | None = None,
        include_xyz: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= start_level <= n_levels:
            raise InputError(f"start_level must lie in [0, n_levels={n_levels}], found {start_level}")
        if count_from is not None and not 0 <= count_from <= start_level:
            raise InputError(f"count_from must lie in [0, start_level={start_level}], found {count_from}")
        if grow_after < 0 or (grow_every is None and grow_after > 0 and grow_after >= grow_until):
            raise InputError(
                f"grow_after must lie in [0, grow_until={grow_until}), found {grow_after}; with grow_every it is a "
                "number of steps"
            )
        self.grow_after = grow_after
        self.count_from = start_level if count_from is None else count_from
        self.spec = ops.GridSpec(n_levels, n_features, log2_size, base_resolution, per_level_scale)
        self.start_level, self.grow_until, self.grow_every = start_level, grow_until, grow_every
        self.blend, self.include_xyz = blend, include_xyz
        self.out_dim = 3 * include_xyz + n_levels * n_features
        self.table = nn.Parameter(torch.empty(self.spec.total, n_features).uniform_(-init, init))

    def counted_levels(self, step: int, max_steps: int) -> float:
        """How many levels the growth has come to at a step, at least 1; with ``blend`` the next one counts in part."""
        last = self.spec.n_levels
        if self.start_level == 0 or self.count_from == last:
            return float(last)
        if self.grow_every is not None:
            grown = (step - self.grow_after) / max(self.grow_every, 1)
        else:
            past = step - self.grow_after * max_steps
            whole = max((self.grow_until - self.grow_after) * max_steps, 1e-9)
            grown = past / whole * (last - self.count_from)
        count = min(self.count_from + max(grown, 0.0), float(last))
        return max(1.0, count if self.blend else float(math.floor(count + 1e-9)))

    def active_levels(self, step: int, max_steps: int) -> float:
        """The number of levels that are on at a step; with ``blend``, its fraction is the weight of the next level."""
        return max(float(self.start_level), self.counted_levels(step, max_steps))

    def window(self, step: int, max_steps: int) -> Float[Tensor, " d"] | None:
        """The weight [D] of each feature; None once all levels are on."""
        active = self.active_levels(step, max_steps)
        if active >= self.spec.n_levels:
            return None
        level = torch.arange(self.spec.n_levels, device=self.table.device, dtype=self.table.dtype)
        on = (active - level).clamp(0, 1).repeat_interleave(self.spec.n_features)
        return torch.cat([on.new_ones(3), on]) if self.include_xyz else on

    def cell_size(self, step: int, max_steps: int) -> float | None:
        """Side of a cell of the finest level that is counted, in units of u."""
        finest = math.ceil(self.counted_levels(step, max_steps)) - 1
        return self.spec.cell_size(finest)

    def coarsest_cell(self) -> float:
        """Side of a cell of the first level, in units of u."""
        return self.spec.cell_size(0)

    def grid(self) -> tuple[Tensor, ops.GridSpec] | None:
        """The table [rows, n_features] and its layout; None without the point, which the kernels take for granted."""
        return (self.table, self.spec) if self.include_xyz else None

    def forward(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> Float[Tensor, "s d"]:
        """Features [S, D] of points u [S, 3] in [0, 1]^3, multiplied by ``window``."""
        y = ops.grid_encode(u, self.table, self.spec)
        features = torch.cat([2 * u - 1, y], dim=-1) if self.include_xyz else y
        return features if window is None else features * window

    def with_pullback(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> tuple[Float[Tensor, "s d"], Pullback]:
        """Features [S, D] and g -> J^T g, from the explicit Jacobian of the interpolation."""
        y, jacobian = ops.grid_encode_jacobian(u, self.table, self.spec)
        features = torch.cat([2 * u - 1, y], dim=-1) if self.include_xyz else y
        if window is not None:
            features = features * window

        def pullback(g: Tensor) -> Tensor:
            if window is not None:
                g = g * window
            if not self.include_xyz:
                return ops.pullback(jacobian, g.contiguous())
            return 2 * g[:, :3] + ops.pullback(jacobian, g[:, 3:].contiguous())

        return features, pullback
