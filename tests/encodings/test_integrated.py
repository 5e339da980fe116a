"""The integrated encoding against sampled Gaussians, by hand, and at its limits."""

import math

import pytest
import torch

from isosweep.encodings.frequency import Frequency
from isosweep.encodings.hashgrid import HashGrid
from isosweep.encodings.integrated import IntegratedFrequency
from isosweep.errors import InputError

F64 = torch.float64
DRAWS = 100_000


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic"])
def test_it_is_the_mean_of_the_waves_over_a_gaussian(covariance: str) -> None:
    """A Gaussian with a full covariance, of which the encoding sees the diagonal; within 5 standard errors."""
    encoding = IntegratedFrequency(6, covariance=covariance).double()
    g = torch.Generator().manual_seed(0)
    root = 0.05 * torch.randn(3, 3, generator=g, dtype=F64)
    if covariance == "isotropic":
        root = 0.06 * torch.eye(3, dtype=F64)
    u = torch.tensor([0.3, 0.8, 0.45], dtype=F64)
    drawn = encoding(u + torch.randn(DRAWS, 3, generator=g, dtype=F64) @ root.T)
    found = encoding.of_gaussians(u[None], (root @ root.T).diagonal()[None])[0]
    error = drawn.std(0) / math.sqrt(DRAWS)
    assert bool(((drawn.mean(0) - found).abs() < 5 * error).all())
    assert bool(
        (found[3:].abs() < 0.999 * encoding(u[None])[0, 3:].abs()).any()
    )  # it does differ from the point's


def test_values_by_hand() -> None:
    encoding = IntegratedFrequency(2).double()
    u, variance = torch.tensor([[0.75, 0.5, 0.25]], dtype=F64), torch.tensor([[0.02, 0.0, 0.5]], dtype=F64)
    y = encoding.of_gaussians(u, variance)[0]
    # p = 2 u - 1 has mean (0.5, 0, -0.5) and variance (0.08, 0, 2); order: point, sines by axis, cosines by axis
    expected = [
        0.5, 0.0, -0.5,
        math.sin(0.5) * math.exp(-0.04), math.sin(1.0) * math.exp(-0.16), 0.0, 0.0,
        math.sin(-0.5) * math.exp(-1.0), math.sin(-1.0) * math.exp(-4.0),
        math.cos(0.5) * math.exp(-0.04), math.cos(1.0) * math.exp(-0.16), 1.0, 1.0,
        math.cos(0.5) * math.exp(-1.0), math.cos(1.0) * math.exp(-4.0),
    ]  # fmt: skip
    torch.testing.assert_close(y, torch.tensor(expected, dtype=F64))


def test_isotropic_takes_the_mean_variance_for_every_axis() -> None:
    u, variance = torch.rand(4, 3, dtype=F64), 0.01 * torch.rand(4, 3, dtype=F64)
    mean = variance.mean(-1, keepdim=True).expand(-1, 3)
    found = IntegratedFrequency(3, covariance="isotropic").double().of_gaussians(u, variance)
    torch.testing.assert_close(found, IntegratedFrequency(3).double().of_gaussians(u, mean))


def test_of_no_width_it_is_the_frequency_encoding_and_of_great_width_the_point_alone() -> None:
    encoding, plain, u = IntegratedFrequency(5), Frequency(5), torch.rand(7, 3)
    window = IntegratedFrequency(5, anneal_until=0.5).window(10, 100)
    assert encoding.out_dim == plain.out_dim == 33
    assert torch.equal(encoding(u), plain(u))
    assert torch.equal(encoding.of_gaussians(u, torch.zeros(7, 3), window), plain(u, window))
    wide = encoding.of_gaussians(u, torch.full((7, 3), 1e4))
    assert torch.equal(wide[:, :3], plain(u)[:, :3])
    assert not bool(wide[:, 3:].any())


def test_an_encoding_without_an_integral_takes_the_centre() -> None:
    grid, u = HashGrid(n_levels=2, log2_size=6, base_resolution=4, init=0.5), torch.rand(5, 3)
    assert torch.equal(grid.of_gaussians(u, torch.ones(5, 3)), grid(u))
    assert not grid.integrates
    assert IntegratedFrequency().integrates


def test_another_covariance_is_refused() -> None:
    with pytest.raises(InputError, match=r"encoding\.covariance is one of diagonal, isotropic, found 'full'"):
        IntegratedFrequency(covariance="full")
