"""The shape of a multiresolution hash grid: everything about it that is not its table."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isosweep.errors import InputError


@dataclass(frozen=True)
class GridSpec:
    """Level layout of tiny-cuda-nn's HashGrid, so that tables can be exchanged (Müller et al. 2022).

    Level l: scale = base_resolution * per_level_scale^l - 1, computed in float32 as there;
    resolution = ceil(scale) + 1 grid points a side; position of u in [0, 1]^3 is u * scale + 0.5;
    size = min(resolution^3 rounded up to a multiple of 8, 2^log2_size) rows of n_features.
    A level is dense where resolution^3 <= size (row x + y * resolution + z * resolution^2), else
    hashed (row x ^ y * 2654435761 ^ z * 805459861 in uint32); always modulo ``size``, so the corner
    beyond the border and points outside the box wrap. Rows of all levels follow one another in one
    table [total, n_features].

    Differs from tiny-cuda-nn in one place: there the stride overflows uint32 where resolution^2 is
    a power of two no larger than size and resolution^3 >= 2^32 (2048 with 2^22 rows), and the
    level ignores z. Here such a level is hashed.
    """

    n_levels: int
    n_features: int
    log2_size: int
    base_resolution: int
    per_level_scale: float

    def __post_init__(self) -> None:
        bounds = {"n_levels": 64, "n_features": 16, "log2_size": 28, "base_resolution": 1 << 16}
        for name, top in bounds.items():
            value = getattr(self, name)
            if not 1 <= value <= top:
                raise InputError(
                    f"hash grid: {name} must be from 1 to {top}, got {value}: change encoding.{name}"
                )
        if not self.per_level_scale >= 1.0:
            raise InputError(
                f"hash grid: per_level_scale must be at least 1, got {self.per_level_scale}: "
                "each level must be at least as fine as the one before"
            )
        finest = float(self.scale[-1])
        if not finest < 2.0**20:
            raise InputError(
                f"hash grid: the finest level has {finest:.3g} cells per side, more than float32 positions allow "
                f"({2**20}): "
                "lower n_levels, base_resolution or per_level_scale"
            )
        if self.total > 2**31:
            raise InputError(f"hash grid: {self.total} rows exceed 2^31: lower n_levels or log2_size")

    @cached_property
    def scale(self) -> np.ndarray:
        """float32 [L]: cells a side, the factor from u to grid position."""
        level = np.arange(self.n_levels, dtype=np.float32)
        growth = np.exp2(level * np.log2(np.float32(self.per_level_scale)))
        return growth * np.float32(self.base_resolution) - np.float32(1)

    @cached_property
    def resolution(self) -> np.ndarray:
        """int64 [L]: grid points a side, the stride of dense levels."""
        return np.ceil(self.scale).astype(np.int64) + 1

    @cached_property
    def size(self) -> np.ndarray:
        """int64 [L]: rows of each level."""
        return np.minimum(-(-(self.resolution**3) // 8) * 8, 1 << self.log2_size)

    @cached_property
    def offset(self) -> np.ndarray:
        """int64 [L]: first row of each level."""
        return np.cumsum(self.size) - self.size

    @cached_property
    def dense(self) -> np.ndarray:
        """bool [L]: levels without collisions; always the first ones."""
        return self.resolution**3 <= self.size

    @cached_property
    def total(self) -> int:
        """Rows of the whole table."""
        return int(self.size.sum())

    @property
    def out_dim(self) -> int:
        """Features of one point, level by level: D = n_levels * n_features."""
        return self.n_levels * self.n_features

    def cell_size(self, level: int) -> float:
        """Side of one cell of ``level`` in units of u; inf where the level has no extent."""
        scale = float(self.scale[level])
        return 1.0 / scale if scale > 0 else float("inf")
