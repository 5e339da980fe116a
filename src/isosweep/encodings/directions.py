"""Encodings of unit directions: spherical harmonics, and sines and cosines."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

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

    def __init__(self, degree: int = 4) -> None:
        super().__init__()
        if not 1 <= degree <= 4:
            raise InputError(f"spherical harmonics: degree must be 1 to 4, found {degree}")
        self.degree, self.out_dim = degree, degree**2

    def forward(self, dirs: Float[Tensor, "s 3"]) -> Float[Tensor, "s d"]:
        """Features [S, D] of unit directions [S, 3]."""
        x, y, z = dirs.unbind(-1)
        out = [torch.full_like(x, 0.28209479177387814)]
        if self.degree > 1:
            out += [-0.48860251190291987 * y, 0.48860251190291987 * z, -0.48860251190291987 * x]
        if self.degree > 2:
            out += [
                1.0925484305920792 * x * y,
                -1.0925484305920792 * y * z,
                0.94617469575755997 * z * z - 0.31539156525251999,
                -1.0925484305920792 * x * z,
                0.54627421529603959 * (x * x - y * y),
            ]
        if self.degree > 3:
            out += [
                0.59004358992664352 * y * (-3.0 * x * x + y * y),
                2.8906114426405538 * x * y * z,
                0.45704579946446572 * y * (1.0 - 5.0 * z * z),
                0.3731763325901154 * z * (5.0 * z * z - 3.0),
                0.45704579946446572 * x * (1.0 - 5.0 * z * z),
                1.4453057213202769 * z * (x * x - y * y),
                0.59004358992664352 * x * (-x * x + 3.0 * y * y),
            ]
        return torch.stack(out, dim=-1)


class DirectionFrequency(nn.Module):
    """[d, sin(2^k d), cos(2^k d)] for k < n_frequencies, of unit directions d.

    Source: the code of NeRF and NeuS, with 4 frequencies; Mildenhall et al. 2020, equation 4, has a factor pi.

    Args:
        n_frequencies: number of octaves; the output has 3 + 6 n_frequencies features.
    """

    def __init__(self, n_frequencies: int = 4) -> None:
        super().__init__()
        self.n_frequencies, self.out_dim = n_frequencies, 3 + 6 * n_frequencies

    def forward(self, dirs: Float[Tensor, "s 3"]) -> Float[Tensor, "s d"]:
        """Features [S, D] of unit directions [S, 3]."""
        bands = 2.0 ** torch.arange(self.n_frequencies, device=dirs.device)
        angle = (dirs[:, :, None] * bands).flatten(1)
        return torch.cat([dirs, angle.sin(), angle.cos()], dim=-1)
