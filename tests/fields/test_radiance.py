"""The network of the original NeRF, written out by hand at a small size."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isosweep.encodings.directions import DirectionFrequency
from isosweep.encodings.frequency import Frequency
from isosweep.fields.radiance import RadianceField


def make(direction: bool = True) -> RadianceField:
    torch.manual_seed(0)
    seen = DirectionFrequency(2) if direction else None
    field = RadianceField(Frequency(2), seen, hidden_dim=8, n_hidden=3, skips=(2,), color_dim=6)
    for p in field.parameters():  # biases start at 0, where a missing one would not show
        nn.init.uniform_(p, -0.5, 0.5)
    return field


def trunk(field: RadianceField, u: torch.Tensor) -> torch.Tensor:
    x = field.encoding(u)
    first, second, third = field.trunk.hidden
    h = torch.relu(F.linear(torch.relu(F.linear(x, first.weight, first.bias)), second.weight, second.bias))
    h = torch.relu(F.linear(torch.cat([h, x], -1), third.weight, third.bias))
    return F.linear(h, field.trunk.head.weight, field.trunk.head.bias)


@pytest.mark.parametrize("with_noise", [False, True])
def test_density_and_feature_are_outputs_of_one_trunk(with_noise: bool) -> None:
    field, u = make(), torch.rand(20, 3)
    noise = torch.randn(20) if with_noise else None
    density, feature = field.density(u, None, noise)
    expected = trunk(field, u)
    torch.testing.assert_close(density, torch.relu(expected[:, 0] + (0 if noise is None else noise)))
    torch.testing.assert_close(feature, expected[:, 1:])
    assert feature.shape == (20, 8)


def test_the_colour_reads_feature_and_direction_through_one_hidden_layer() -> None:
    field, u = make(), torch.rand(6, 3)
    dirs = F.normalize(torch.randn(2, 3), dim=-1)
    index = torch.tensor([0, 0, 1, 1, 1, 0])
    feature = field.density(u)[1]
    assert field.head is not None
    assert field.direction is not None
    [hidden] = field.head.hidden
    assert hidden.weight.shape == (6, 8 + 3 + 2 * 3 * 2)
    h = torch.relu(
        F.linear(torch.cat([feature, field.direction(dirs)[index]], -1), hidden.weight, hidden.bias)
    )
    expected = torch.sigmoid(F.linear(h, field.head.head.weight, field.head.head.bias))
    torch.testing.assert_close(field.color(feature, dirs, index), expected)
    torch.testing.assert_close(field.color(feature, dirs[index]), expected)


def test_without_directions_the_colour_is_an_output_of_the_trunk() -> None:
    field, u = make(direction=False), torch.rand(6, 3)
    feature = field.density(u)[1]
    expected = torch.sigmoid(trunk(field, u)[:, 1:4])
    torch.testing.assert_close(field.color(feature, torch.zeros(6, 3)), expected)


def test_weights_start_within_glorots_bound_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    field = RadianceField(
        Frequency(2), DirectionFrequency(2), hidden_dim=64, n_hidden=2, skips=(), color_dim=32
    )
    for layer in field.modules():
        if isinstance(layer, nn.Linear):
            bound = math.sqrt(6 / (layer.in_features + layer.out_features))
            assert float(layer.weight.detach().abs().max()) == pytest.approx(bound, rel=0.2)
            assert float(layer.weight.detach().abs().max()) <= bound
            assert (layer.bias == 0).all()


def test_mip_nerfs_density_has_a_bias_and_its_colour_reaches_beyond_0_and_1() -> None:
    """sigma = softplus(raw - 1), and (1 + 2 e) c - e with e = 0.1, of a trunk that gives 0.5, and 0.3 for colour."""
    field = RadianceField(
        Frequency(2), None, 8, 2, (), density_activation="softplus", density_bias=-1.0, color_padding=0.1
    )
    for p in field.parameters():
        nn.init.zeros_(p)
    with torch.no_grad():
        field.trunk.head.bias.copy_(torch.tensor([0.5, 0.3, 0.3, 0.3]))
    density, feature = field.density(torch.rand(2, 3))
    torch.testing.assert_close(density, torch.full((2,), math.log1p(math.exp(-0.5))))
    noisy, _ = field.density(torch.rand(2, 3), noise=torch.tensor([0.25, -0.5]))
    torch.testing.assert_close(noisy, torch.tensor([math.log1p(math.exp(x)) for x in (-0.25, -1.0)]))
    color = 1.2 / (1 + math.exp(-0.3)) - 0.1
    torch.testing.assert_close(field.color(feature, torch.zeros(2, 3)), torch.full((2, 3), color))
