"""The shading of NeRO: the split-sum table against integration over light directions, and colours worked by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isosweep.fields import split_sum
from isosweep.fields.microfacet import Microfacet, to_srgb


def reflected_light(facing: float, rough: float, f0: float, n: int = 300) -> float:
    """What a microfacet surface reflects of a uniform light of 1: the integral of D F G / (4 n.v) over directions.

    Independent of the table: a grid of light directions instead of half-vectors by their probability.
    """
    theta = (np.arange(n) + 0.5) / n * (math.pi / 2)
    phi = (np.arange(n) + 0.5) / n * math.pi  # the other half is the same
    n_l, sin_l = np.cos(theta)[:, None], np.sin(theta)[:, None]
    v = np.array([math.sqrt(1 - facing**2), 0.0, facing])
    light = np.stack(np.broadcast_arrays(sin_l * np.cos(phi), sin_l * np.sin(phi), n_l), -1)
    half = light + v
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    n_h, v_h = half[..., 2], half @ v
    a2, k = rough**4, rough**2 / 2
    d = a2 / (math.pi * (n_h**2 * (a2 - 1) + 1) ** 2)
    g = facing / (facing * (1 - k) + k) * (n_l / (n_l * (1 - k) + k))
    fresnel = f0 + (1 - f0) * (1 - v_h) ** 5
    value = d * fresnel * g / (4 * facing)
    return float((value * sin_l).sum() * 2 * (math.pi / 2 / n) * (math.pi / n))


@pytest.mark.parametrize("facing", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("rough", [0.3, 0.6, 0.95])
def test_the_table_is_the_light_that_is_reflected(facing: float, rough: float) -> None:
    f1, f2 = split_sum.look_up(split_sum.table(), torch.tensor([facing]), torch.tensor([rough]))
    for f0 in (0.04, 0.8):
        expected = reflected_light(facing, rough, f0)
        assert f0 * f1.item() + f2.item() == pytest.approx(expected, abs=1e-3)


def test_a_smooth_surface_reflects_by_schlick() -> None:
    """Roughness 0: F0 + (1 - F0) (1 - n.v)^5, so F1 = 1 - c and F2 = c with c = (1 - n.v)^5."""
    facing = torch.tensor([0.25, 0.5, 1.0])
    f1, f2 = split_sum.look_up(split_sum.table(), facing, torch.zeros(3))
    c = (1 - facing) ** 5
    torch.testing.assert_close(f1, 1 - c, atol=4e-3, rtol=0)
    torch.testing.assert_close(f2, c, atol=4e-3, rtol=0)


def test_the_table_is_read_linearly_along_its_own_axes() -> None:
    values = torch.arange(2 * 4 * 4.0).view(2, 4, 4)
    # n.v of 0.5 lies between columns 1 and 2, roughness 0.125 is row 0
    f1, f2 = split_sum.look_up(values, torch.tensor([0.5, 0.0]), torch.tensor([0.125, 1.0]))
    assert f1.tolist() == pytest.approx([1.5, 12.0])
    assert f2.tolist() == pytest.approx([17.5, 28.0])


def constant(net: nn.Module, *values: float) -> None:
    """Make a network return these values whatever it reads."""
    for p in net.parameters():
        nn.init.zeros_(p)
    with torch.no_grad():
        net.head.bias.copy_(torch.tensor(values))  # pyright: ignore


def shading(albedo: float, metallic: float, roughness: float, hidden: float) -> Microfacet:
    head = Microfacet(feature_dim=2, n_bands=2, hidden_dim=4, n_hidden=1)
    logit = [math.log(p / (1 - p)) for p in (albedo, metallic, roughness, hidden)]
    constant(head.material, *[logit[0]] * 3, logit[1], logit[2])
    constant(head.direct, *[math.log(0.3)] * 3)
    constant(head.indirect, *[math.log(0.1)] * 3)
    constant(head.occlusion, logit[3])
    return head


def seen(head: Microfacet, cosine: float) -> tuple[Tensor, dict[str, Tensor]]:
    dirs = torch.tensor([[math.sqrt(1 - cosine**2), 0.0, -cosine]])
    shade = head(torch.zeros(1, 2), dirs, torch.zeros(1, 3), torch.tensor([[0.0, 0, 1]]))
    return shade.rgb, dict(shade.extras)


def test_a_colour_by_hand() -> None:
    albedo, metallic, rough, hidden, cosine = 0.5, 0.25, 0.6, 0.2, 0.7
    rgb, extras = seen(shading(albedo, metallic, rough, hidden), cosine)
    f1, f2 = split_sum.look_up(split_sum.table(), torch.tensor([cosine]), torch.tensor([rough]))
    f0 = 0.04 * 0.75 + 0.25 * 0.5
    linear = 0.5 * 0.75 * 0.3 + (f0 * f1.item() + f2.item()) * (0.8 * 0.3 + 0.2 * 0.1)
    torch.testing.assert_close(rgb, torch.full((1, 3), 1.055 * linear ** (1 / 2.4) - 0.055))
    assert extras["albedo"].tolist() == [pytest.approx([0.5] * 3)]
    found = [extras[name].item() for name in ("metallic", "roughness", "occlusion")]
    assert found == pytest.approx([metallic, rough, hidden])


def test_light_comes_from_the_normal_and_from_where_the_ray_is_reflected() -> None:
    """The network reads the encoding of (n, roughness 1) for the diffuse light and of (w, rho) for the other."""
    head, read = shading(0.5, 0.25, 0.6, 0.2), []
    head.direct.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    seen(head, 0.6)
    normal, mirrored = torch.tensor([[0.0, 0, 1]]), torch.tensor([[0.8, 0.0, 0.6]])
    expected = [head.directions(mirrored, torch.tensor([0.6])), head.directions(normal, torch.ones(1))]
    torch.testing.assert_close(read[0], torch.cat(expected))


def test_directions_of_rays_are_those_of_their_samples() -> None:
    torch.manual_seed(0)
    head = Microfacet(feature_dim=3, n_bands=3, hidden_dim=8)
    feature, points, index = torch.randn(5, 3), torch.rand(5, 3), torch.tensor([0, 0, 1, 1, 1])
    dirs, normals = F.normalize(torch.randn(2, 3), dim=-1), F.normalize(torch.randn(5, 3), dim=-1)
    one, other = head(feature, dirs, points, normals, index), head(feature, dirs[index], points, normals)
    torch.testing.assert_close(one.rgb, other.rgb)
    assert one.rgb.min() >= 0
    assert one.rgb.max() <= 1


def test_colour_bends_the_shape_and_occlusion_does_not() -> None:
    torch.manual_seed(0)
    head = Microfacet(feature_dim=3, n_bands=3, hidden_dim=8)
    feature, normals = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    dirs = F.normalize(torch.randn(5, 3), dim=-1)
    shade = head(feature, dirs, torch.rand(5, 3), F.normalize(normals, dim=-1))
    shade.extras["occlusion"].sum().backward(retain_graph=True)
    assert feature.grad is None
    assert normals.grad is None
    shade.rgb.sum().backward()
    assert feature.grad is not None
    assert normals.grad is not None
    assert bool((normals.grad != 0).any(-1).all())
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in head.parameters())


def test_srgb() -> None:
    found = to_srgb(torch.tensor([[0.0, 0.001, 0.21404], [1.0, 2.0, -1.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.01292, 0.5], [1.0, 1.0, 0.0]]), atol=1e-4, rtol=0)


def test_it_asks_for_normals_and_points() -> None:
    head = Microfacet(feature_dim=2)
    with pytest.raises(ValueError, match="reads normals and points, and the model passed none"):
        head(torch.zeros(1, 2), torch.tensor([[0.0, 0, 1]]))
