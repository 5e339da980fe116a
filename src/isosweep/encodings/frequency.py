"""Positional encoding with sines and cosines; its bands may be switched on from coarse to fine."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep import ops
from isosweep.bounds import Bands, Share
from isosweep.encodings.base import Encoding, Pullback
from isosweep.errors import InputError


def require_features(n_frequencies: int, include_xyz: bool) -> None:
    """Check that an encoding has a feature: a band or the point. Raises InputError."""
    if n_frequencies < 0 or (n_frequencies == 0 and not include_xyz):
        raise InputError(
            f"n_frequencies={n_frequencies} with include_xyz={include_xyz} leaves no feature: take 1 or more bands, or "
            "0 with the point"
        )


class Frequency(Encoding):
    """gamma(p) = [p, sin(2^k pi p), cos(2^k pi p)] for k < n_frequencies, with p = 2 u - 1.

    Source: Mildenhall et al. 2020, equation 4. With ``scale_pi=False`` the factor pi is left out, as in the code of
    NeRF and NeuS. Annealing gives band k the weight (1 - cos(pi clip(a - k, 0, 1))) / 2, where a grows from 0 to
    n_frequencies (Park et al. 2021, Nerfies, equation 8).

    Args:
        n_frequencies: number of octaves; there are C + 2 C n_frequencies features.
        anneal_until: fraction of max_steps at which all bands are on; 0 switches annealing off.
        scale_pi: multiply the point by pi.
        in_dim: C, coordinates of a point.
        include_xyz: the first C features are the point; without it there are 2 C n_frequencies.

    Raises:
        InputError: there is no feature left.
    """

    freqs: Tensor

    def __init__(
        self,
        n_frequencies: Bands = 6,
        anneal_until: Share = 0.0,
        scale_pi: bool = False,
        in_dim: int = 3,
        include_xyz: bool = True,
    ) -> None:
        super().__init__()
        require_features(n_frequencies, include_xyz)
        self.include_xyz, self.first = include_xyz, in_dim if include_xyz else 0
        self.n_frequencies, self.anneal_until = n_frequencies, anneal_until
        self.in_dim, self.out_dim = in_dim, self.first + 2 * in_dim * n_frequencies
        self.scale = math.pi if scale_pi else 1.0
        bands = 2.0 ** torch.arange(n_frequencies) * self.scale
        self.register_buffer("freqs", bands, persistent=False)

    def window(self, step: int, max_steps: int) -> Float[Tensor, " d"] | None:
        """The annealing weight [D] of each feature; None once all bands are on."""
        if self.anneal_until <= 0 or step >= self.anneal_until * max_steps:
            return None
        alpha = step / (self.anneal_until * max_steps) * self.n_frequencies
        k = torch.arange(self.n_frequencies, device=self.freqs.device)
        band = (1 - torch.cos(math.pi * (alpha - k).clamp(0, 1))) / 2
        return torch.cat([band.new_ones(self.first), band.repeat(2 * self.in_dim)]).to(self.freqs.dtype)

    def forward(
        self, u: Float[Tensor, "s c"], window: Float[Tensor, " d"] | None = None
    ) -> Float[Tensor, "s d"]:
        """gamma [S, D] of points u [S, C] in [0, 1]^C, multiplied by ``window``."""
        point = 2 * u - 1
        waves = ops.waves(point, self.freqs, self.scale)
        features = torch.cat([point, waves], dim=-1) if self.include_xyz else waves
        return features if window is None else features * window

    def with_pullback(
        self, u: Float[Tensor, "s c"], window: Float[Tensor, " d"] | None = None
    ) -> tuple[Float[Tensor, "s d"], Pullback]:
        """gamma [S, D] and g -> J^T g, from the derivatives of sine and cosine."""
        point = 2 * u - 1
        sin, cos = ops.waves(point, self.freqs, self.scale).chunk(2, dim=-1)
        point = point[:, : self.first]
        features = torch.cat([point, sin, cos], dim=-1)
        rate = self.freqs.repeat(self.in_dim)
        slope = torch.cat([torch.ones_like(point), cos * rate, -sin * rate], dim=-1)
        if window is not None:
            features, slope = features * window, slope * window

        def pullback(g: Tensor) -> Tensor:
            own, waves = (2 * g * slope).split([self.first, 2 * self.in_dim * self.n_frequencies], dim=-1)
            through = waves.unflatten(-1, (2, self.in_dim, self.n_frequencies)).sum((1, 3))
            return through + own if self.include_xyz else through

        return features, pullback
