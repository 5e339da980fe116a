"""Encodings of unit directions: spherical harmonics, and sines and cosines."""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep import ops
from isosweep.bounds import Bands, Bound
from isosweep.encodings.frequency import require_features
from isosweep.errors import InputError


class SphericalHarmonics(nn.Module):
    """The bands 0 to degree - 1 of the real spherical harmonics, which are orthonormal on the sphere.

    Source: Sloan 2013, "Efficient Spherical Harmonic Evaluation". Order and signs are those of tiny-cuda-nn, so that
    the weights of a colour network can be exchanged.

    Args:
        degree: number of bands, 1 to 4; the output has degree^2 features.

    Raises:
        InputError: ``degree`` is not 1 to 4.
    """

    def __init__(self, degree: Annotated[int, Bound(least=1, most=4)] = 4) -> None:
        super().__init__()
        if not 1 <= degree <= 4:
            raise InputError(f"spherical harmonics: degree must be 1 to 4, found {degree}")
        self.degree, self.out_dim = degree, degree**2

    def forward(self, dirs: Float[Tensor, "s 3"]) -> Float[Tensor, "s d"]:
        """Features [S, D] of unit directions [S, 3]."""
        return ops.spherical_harmonics(dirs, self.degree)


class DirectionFrequency(nn.Module):
    """[d, sin(2^k d), cos(2^k d)] for k < n_frequencies, of unit directions d.

    Source: the code of NeRF and NeuS, with 4 frequencies; Mildenhall et al. 2020, equation 4, has a factor pi.

    Args:
        n_frequencies: number of octaves; the output has 3 + 6 n_frequencies features.
        include_xyz: the first three features are the direction; without it there are 6 n_frequencies.

    Raises:
        InputError: there is no feature left.
    """

    def __init__(self, n_frequencies: Bands = 4, include_xyz: bool = True) -> None:
        super().__init__()
        require_features(n_frequencies, include_xyz)
        self.n_frequencies, self.include_xyz = n_frequencies, include_xyz
        self.out_dim = 3 * include_xyz + 6 * n_frequencies

    def forward(self, dirs: Float[Tensor, "s 3"]) -> Float[Tensor, "s d"]:
        """Features [S, D] of unit directions [S, 3]."""
        bands = 2.0 ** torch.arange(self.n_frequencies, device=dirs.device)
        waves = ops.waves(dirs, bands, 1.0)
        return torch.cat([dirs, waves], dim=-1) if self.include_xyz else waves
