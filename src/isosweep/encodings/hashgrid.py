"""Multiresolution hash grid (Mueller et al. 2022); its levels may be switched on one after the other."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep import ops
from isosweep.encodings.base import Encoding, Pullback
from isosweep.errors import InputError


class HashGrid(Encoding):
    """[2 u - 1, features of every level], trilinearly interpolated from grids of growing resolution.

    Sources: Instant-NGP (Mueller et al. 2022), section 3, with the layout of tiny-cuda-nn (``ops.GridSpec``). With
    ``start_level`` > 0 the grid is progressive (Neuralangelo, Li et al. 2023): the other levels are
    switched on one by one, at equal intervals, until ``grow_until``. A level that is off has neither value nor
    gradient.

    Args:
        n_levels, n_features, log2_size, base_resolution, per_level_scale: as in tiny-cuda-nn.
        start_level: number of levels that are on at step 0; 0 means all of them.
        grow_until: fraction of max_steps at which the last level is switched on.
        grow_every: number of steps from one level to the next, for a published recipe; replaces ``grow_until``.
        init: the table starts uniform in [-init, init].
        blend: fade a new level in linearly over the interval before the next, rather than at once.
        include_xyz: the first three features are the point.

    Raises:
        InputError: ``start_level`` is not in [0, n_levels].
    """

    def __init__(
        self,
        n_levels: int = 12,
        n_features: int = 2,
        log2_size: int = 15,
        base_resolution: int = 16,
        per_level_scale: float = 1.38,
        start_level: int = 0,
        grow_until: float = 0.5,
        grow_every: int | None = None,
        init: float = 1e-4,
        blend: bool = False,
        include_xyz: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= start_level <= n_levels:
            raise InputError(f"start_level must lie in [0, n_levels={n_levels}], found {start_level}")
        self.spec = ops.GridSpec(n_levels, n_features, log2_size, base_resolution, per_level_scale)
        self.start_level, self.grow_until, self.grow_every = start_level, grow_until, grow_every
        self.blend, self.include_xyz = blend, include_xyz
        self.out_dim = 3 * include_xyz + n_levels * n_features
        self.table = nn.Parameter(torch.empty(self.spec.total, n_features).uniform_(-init, init))

    def active_levels(self, step: int, max_steps: int) -> float:
        """The number of levels that are on at a step; with ``blend``, its fraction is the weight of the next level."""
        last = self.spec.n_levels
        if self.start_level == 0 or self.start_level == last:
            return float(last)
        if self.grow_every is not None:
            grown = step / max(self.grow_every, 1)
        else:
            whole = max(self.grow_until * max_steps, 1e-9)
            grown = step / whole * (last - self.start_level)
        level = min(self.start_level + grown, float(last))
        return level if self.blend else float(math.floor(level + 1e-9))

    def window(self, step: int, max_steps: int) -> Float[Tensor, " d"] | None:
        """The weight [D] of each feature; None once all levels are on."""
        active = self.active_levels(step, max_steps)
        if active >= self.spec.n_levels:
            return None
        level = torch.arange(self.spec.n_levels, device=self.table.device, dtype=self.table.dtype)
        on = (active - level).clamp(0, 1).repeat_interleave(self.spec.n_features)
        return torch.cat([on.new_ones(3), on]) if self.include_xyz else on

    def cell_size(self, step: int, max_steps: int) -> float | None:
        """Side of a cell of the finest level that is on, in units of u."""
        finest = math.ceil(self.active_levels(step, max_steps)) - 1
        return self.spec.cell_size(finest)

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
