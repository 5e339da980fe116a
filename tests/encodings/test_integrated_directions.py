"""The integrated directional encoding against scipy's harmonics, and against the mean over a lobe."""

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from torch.nn import functional as F

from isosweep.encodings.integrated_directions import IntegratedDirections


def some_dirs(n: int = 50) -> torch.Tensor:
    return F.normalize(torch.randn(n, 3, generator=torch.Generator().manual_seed(0)), dim=-1)


@pytest.mark.parametrize("n_bands", [1, 3, 5])
def test_without_roughness_the_features_are_complex_harmonics(n_bands: int) -> None:
    dirs = some_dirs()
    theta, phi = torch.acos(dirs[:, 2].double()), torch.atan2(dirs[:, 1], dirs[:, 0]).double()
    orders = [(degree, order) for degree in [2**k for k in range(n_bands)] for order in range(degree + 1)]
    values = [sph_harm_y(*of, theta.numpy(), phi.numpy()) for of in orders]
    harmonics = torch.from_numpy(np.stack(values, -1))
    encoding = IntegratedDirections(n_bands)
    found = encoding(dirs, torch.zeros(50))
    assert found.shape == (50, encoding.out_dim)
    torch.testing.assert_close(
        found.double(), torch.cat([harmonics.real, harmonics.imag], -1), atol=2e-5, rtol=1e-4
    )


def test_roughness_fades_each_degree_at_its_own_rate() -> None:
    """exp(-l (l + 1) rho / 2) with rho = 0.1: exp(-0.1) for l = 1, exp(-0.3) for 2, exp(-1) for 4."""
    encoding, dirs = IntegratedDirections(3), some_dirs()
    share = encoding(dirs, torch.full((50,), 0.1)) / encoding(dirs, torch.zeros(50))
    faded = torch.tensor([math.exp(-0.1)] * 2 + [math.exp(-0.3)] * 3 + [math.exp(-1.0)] * 5)
    real = share[:, :10]
    torch.testing.assert_close(real, faded.expand(50, 10), atol=1e-4, rtol=1e-4)


def test_it_is_the_mean_over_a_narrow_lobe() -> None:
    """A von Mises-Fisher lobe of concentration 1 / rho about w, by its quantiles: l = 1 and 2 at rho = 0.05."""
    rho, n = 0.05, 400
    w = F.normalize(torch.tensor([0.3, -0.5, 0.8]), dim=0).double()
    chance = (torch.arange(n).double() + 0.5) / n
    cosine = 1 + rho * torch.log(chance + (1 - chance) * math.exp(-2 / rho))
    angle = 2 * math.pi * (torch.arange(64).double() + 0.5) / 64
    side = F.normalize(torch.linalg.cross(w, torch.tensor([1.0, 0, 0]).double()), dim=0)
    other = torch.linalg.cross(w, side)
    ring = angle.cos()[:, None] * side + angle.sin()[:, None] * other
    lobe = cosine[:, None, None] * w + (1 - cosine**2).clamp_min(0).sqrt()[:, None, None] * ring
    encoding = IntegratedDirections(2)
    mean = encoding(lobe.reshape(-1, 3), torch.zeros(n * 64).double()).mean(0)
    found = encoding(w[None], torch.tensor([rho]).double())[0]
    torch.testing.assert_close(found, mean, atol=2e-3, rtol=0.02)


def test_poles_and_gradients_are_finite() -> None:
    dirs = torch.tensor([[0.0, 0, 1], [0, 0, -1], [1, 0, 0]], requires_grad=True)
    rough = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    IntegratedDirections(5)(dirs, rough).square().sum().backward()
    assert dirs.grad is not None
    assert rough.grad is not None
    assert bool(dirs.grad.isfinite().all())
    assert bool((rough.grad != 0).all())


@pytest.mark.parametrize("n_bands", [0, 6])
def test_bands_that_are_not_there(n_bands: int) -> None:
    with pytest.raises(ValueError, match=f"n_bands must be 1 to 5, found {n_bands}"):
        IntegratedDirections(n_bands)
