"""Mip-NeRF's equations (Barron et al. 2021), written down once more and plainly: full covariances, no packing.

Shapes: R rays, N sections, N1 = N + 1 knots, L frequencies.
"""

import torch
from torch import Tensor


def frustum(o: Tensor, d: Tensor, t0: Tensor, t1: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [R, N, 3] and covariance [R, N, 3, 3] of conical frustums, from the integrals of the supplement.

    They are ratios of differences of powers of the ends: exact, and fit for float64 alone.
    """
    volume = t1**3 - t0**3
    mean = 3 * (t1**4 - t0**4) / (4 * volume)
    along = 3 * (t1**5 - t0**5) / (5 * volume) - mean**2
    across = r[:, None] ** 2 * 3 * (t1**5 - t0**5) / (20 * volume)
    outer = d[:, :, None] * d[:, None, :]
    eye = torch.eye(3, dtype=o.dtype)
    covariance = along[..., None, None] * outer[:, None] + across[..., None, None] * (eye - outer)[:, None]
    return o[:, None] + mean[..., None] * d[:, None], covariance


def encoding(mean: Tensor, covariance: Tensor, n: int) -> Tensor:
    """Equations 9 to 14: sines and cosines of P mu, shrunk by exp(-diag(P Sigma P^T) / 2), behind the mean itself."""
    P = torch.cat([2.0**k * torch.eye(3, dtype=mean.dtype) for k in range(n)])
    lifted, variance = mean @ P.T, (P @ covariance @ P.T).diagonal(dim1=-2, dim2=-1)
    shrunk = torch.exp(-variance / 2)

    def by_axis(x: Tensor) -> Tensor:
        return x.unflatten(-1, (n, 3)).transpose(-1, -2).flatten(-2)

    return torch.cat([mean, by_axis(lifted.sin() * shrunk), by_axis(lifted.cos() * shrunk)], -1)


def network(weights: dict[str, Tensor], x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Density [R, N] and colour [R, N, 3] of the network of figure 7 of NeRF, with mip-NeRF's activations."""

    def linear(name: str, h: Tensor) -> Tensor:
        return h @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    h = x
    for k in range(8):
        h = torch.relu(linear(f"trunk.hidden.{k}", torch.cat([h, x], -1) if k == 5 else h))
    out = linear("trunk.head", h)
    seen = [d] + [
        f(2.0**k * d[:, i : i + 1]) for f in (torch.sin, torch.cos) for i in range(3) for k in range(4)
    ]
    view = torch.cat(seen, -1)[:, None].expand(-1, x.shape[1], -1)
    hidden = torch.relu(linear("head.hidden.0", torch.cat([out[..., 1:], view], -1)))
    density = torch.log1p(torch.exp(out[..., 0] - 1))
    return density, torch.sigmoid(linear("head.head", hidden)) * 1.002 - 0.001


def composite(density: Tensor, rgb: Tensor, knots: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Colour [R, 3] and weights [R, N]: NeRF's quadrature, equation 3."""
    depth = density * knots.diff(dim=-1)
    before = torch.cat([torch.zeros_like(depth[:, :1]), depth.cumsum(-1)[:, :-1]], -1)
    weights = (1 - torch.exp(-depth)) * torch.exp(-before)
    return (weights[..., None] * rgb).sum(1) + (1 - weights.sum(1))[:, None] * background, weights


def render(
    weights: dict[str, Tensor],
    o: Tensor,
    d: Tensor,
    radius: Tensor,
    knots: Tensor,
    background: Tensor,
    box: float,
    n: int,
) -> tuple[Tensor, Tensor]:
    """Colour [R, 3] and weights [R, N] of one round; the network sees space in units of ``box``."""
    mean, covariance = frustum(o, d, knots[:, :-1], knots[:, 1:], radius)
    density, rgb = network(weights, encoding(mean / box, covariance / box**2, n), d)
    return composite(density, rgb, knots, background)
