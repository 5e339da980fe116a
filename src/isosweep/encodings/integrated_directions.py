"""The integrated directional encoding: spherical harmonics of a direction that is known up to a roughness.

Axes: S directions, H complex harmonics, D = 2 H features.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep.errors import InputError


class IntegratedDirections(nn.Module):
    """exp(-l (l + 1) rho / 2) Y_l^m(w) for l = 1, 2, 4, ..., 2^(n_bands - 1) and m = 0..l: real parts, then imaginary.

    This is the mean of the harmonics over a von Mises-Fisher lobe about w of concentration 1 / rho, approximately: a
    rough surface sees no fine detail of the light. Source: Verbin et al. 2022 (Ref-NeRF), equations 5 to 8.

    Y_l^m(w) = N P(z) (x + i y)^m, with the m-th derivative P of the Legendre polynomial of degree l, times (-1)^m.

    Args:
        n_bands: 1 to 5 (the paper: 5, so degrees up to 16); the output has 4, 10, 20, 38 or 72 features.

    Raises:
        InputError: ``n_bands`` is not 1 to 5.
    """

    polynomials: Tensor
    """[L + 1, H] coefficients of powers of z, float64: those of degree 16 cancel to a thousandth of their size."""
    falloff: Tensor
    """[H], l (l + 1) / 2."""

    def __init__(self, n_bands: int = 5) -> None:
        super().__init__()
        if not 1 <= n_bands <= 5:
            raise InputError(f"integrated directions: n_bands must be 1 to 5, found {n_bands}")
        degrees = [2**k for k in range(n_bands)]
        self.orders = [(degree, order) for degree in degrees for order in range(degree + 1)]
        self.out_dim = 2 * len(self.orders)
        columns = [_polynomial(degree, order, degrees[-1]) for degree, order in self.orders]
        falloff = torch.tensor([degree * (degree + 1) / 2 for degree, _ in self.orders])
        order = torch.tensor([order for _, order in self.orders])
        self.register_buffer("polynomials", torch.from_numpy(np.stack(columns, -1)), persistent=False)
        self.register_buffer("falloff", falloff, persistent=False)
        self.register_buffer("order", order, persistent=False)

    order: Tensor
    """[H], m."""

    def forward(self, dirs: Float[Tensor, "s 3"], roughness: Float[Tensor, " s"]) -> Float[Tensor, "s d"]:
        """Features [S, D] of unit directions [S, 3] and their roughness rho >= 0."""
        x, y, z = dirs.unbind(-1)
        powers = [torch.ones_like(z, dtype=torch.float64)]
        real, imaginary = [torch.ones_like(x)], [torch.zeros_like(x)]
        for _ in range(len(self.polynomials) - 1):
            powers.append(powers[-1] * z)
            a, b = real[-1], imaginary[-1]
            real.append(a * x - b * y)
            imaginary.append(a * y + b * x)
        of_z = (torch.stack(powers, -1) @ self.polynomials).to(dirs.dtype)
        kept = of_z * torch.exp(-self.falloff.to(dirs.dtype) * roughness[:, None])
        parts = [kept * torch.stack(part, -1)[:, self.order] for part in (real, imaginary)]
        return torch.cat(parts, dim=-1)


def _polynomial(degree: int, order: int, highest: int) -> np.ndarray:
    """Coefficients [highest + 1] of 1, z, z^2, ... of N (-1)^m d^m P_l / dz^m, float64."""
    legendre = np.polynomial.legendre.leg2poly([0.0] * degree + [1.0])
    derived = np.polynomial.polynomial.polyder(legendre, order)
    norm = math.sqrt(
        (2 * degree + 1) / (4 * math.pi) * math.factorial(degree - order) / math.factorial(degree + order)
    )
    padded = np.zeros(highest + 1)
    padded[: len(derived)] = (-1) ** order * norm * derived
    return padded
