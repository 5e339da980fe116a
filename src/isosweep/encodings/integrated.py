"""Integrated positional encoding: the mean of sines and cosines over a Gaussian instead of their value at a point."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.bounds import Bands, Share
from isosweep.encodings.base import Encoding, Pullback
from isosweep.encodings.frequency import Frequency
from isosweep.errors import InputError

COVARIANCES = ("diagonal", "isotropic")


class IntegratedFrequency(Encoding):
    """E[sin(w p)] = sin(w mu) exp(-w^2 s / 2) and the cosine likewise, for p normal with mean mu and variance s.

    Source: Barron et al. 2021, mip-NeRF, equations 13 and 14. A wave shorter than the Gaussian is wide vanishes, so the
    network never sees what the pixel cannot resolve. The encoding is along the axes, so of a full covariance the
    diagonal alone counts. At a point it is ``Frequency``; unlike the paper's it begins with the mean itself, unless
    ``include_xyz`` is false.

    Args:
        n_frequencies, anneal_until, scale_pi: as of ``Frequency`` (the paper: 16, 0, false).
        covariance: 'diagonal' takes the variance along each axis, 'isotropic' the mean of the three for every axis.
        include_xyz: the first three features are the mean; the paper leaves it out.

    Raises:
        InputError: ``covariance`` is neither.
    """

    integrates: ClassVar[bool] = True

    def __init__(
        self,
        n_frequencies: Bands = 16,
        anneal_until: Share = 0.0,
        scale_pi: bool = False,
        covariance: str = "diagonal",
        include_xyz: bool = True,
    ) -> None:
        super().__init__()
        if covariance not in COVARIANCES:
            raise InputError(f"encoding.covariance is one of {', '.join(COVARIANCES)}, found {covariance!r}")
        self.waves = Frequency(n_frequencies, anneal_until, scale_pi, include_xyz=include_xyz)
        self.include_xyz = include_xyz
        self.isotropic, self.out_dim = covariance == "isotropic", self.waves.out_dim

    def window(self, step: int, max_steps: int) -> Float[Tensor, " d"] | None:
        """The annealing weight [D] of each feature; None once all bands are on."""
        return self.waves.window(step, max_steps)

    def forward(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> Float[Tensor, "s d"]:
        """Features [S, D] of points u [S, 3] in [0, 1]^3, which are Gaussians of no width."""
        return self.waves(u, window)

    def of_gaussians(
        self,
        u: Float[Tensor, "s 3"],
        variance: Float[Tensor, "s 3"],
        window: Float[Tensor, " d"] | None = None,
    ) -> Float[Tensor, "s d"]:
        """Features [S, D] of Gaussians with mean u in [0, 1]^3 and ``variance`` along each axis, in units of u^2."""
        if self.isotropic:
            variance = variance.mean(-1, keepdim=True).expand(-1, 3)
        # p = 2 u - 1 has four times the variance of u
        kept = torch.exp(-0.5 * (4 * variance)[:, :, None] * self.waves.freqs.square()).flatten(1)
        return self.waves(u, window) * torch.cat(
            [torch.ones_like(u[:, : self.waves.first]), kept, kept], dim=-1
        )

    def with_pullback(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> tuple[Float[Tensor, "s d"], Pullback]:
        """Features [S, D] of points, and g -> J^T g."""
        return self.waves.with_pullback(u, window)
