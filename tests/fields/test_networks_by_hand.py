"""The small parts of the fields against formulas written out: crossing, density, colour, skips, the sphere's start."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isosweep.encodings.base import Encoding
from isosweep.encodings.frequency import Frequency
from isosweep.encodings.hashgrid import HashGrid
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.fields.mlp import MLP
from isosweep.fields.surface import SurfaceField
from isosweep.ops.opacity import crossing_opacity


def phi(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(("before", "after", "s"), [(0.1, -0.1, 10.0), (0.2, 0.1, 3.0), (-1.0, -1.2, 20.0)])
def test_the_opacity_of_a_crossing_by_hand(before, after, s):
    found = crossing_opacity(torch.tensor(before), torch.tensor(after), s)
    expected = (phi(before * s) - phi(after * s) + 1e-5) / (phi(before * s) + 1e-5)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_a_section_that_leaves_is_transparent_and_none_is_more_than_opaque():
    found = crossing_opacity(torch.tensor([-0.5, 5.0]), torch.tensor([0.5, -5.0]), 50.0)
    assert found.tolist() == [0.0, pytest.approx(1.0)]


def weights(net: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(m.weight, m.bias) for m in net.modules() if isinstance(m, nn.Linear)]


def test_a_network_with_skips_by_hand():
    torch.manual_seed(0)
    net = MLP(3, 2, 5, 3, skips=[1, 2])
    x = torch.randn(7, 3)
    (w0, b0), (w1, b1), (w2, b2), (w3, b3) = weights(net)
    h = F.relu(x @ w0.T + b0)
    h = F.relu(torch.cat([h, x], -1) @ w1.T + b1)
    h = F.relu(torch.cat([h, x], -1) @ w2.T + b2)
    torch.testing.assert_close(net(x), h @ w3.T + b3)


def test_a_network_without_skips_by_hand():
    torch.manual_seed(0)
    net = MLP(3, 2, 5, 2)
    x = torch.randn(7, 3)
    (w0, b0), (w1, b1), (w2, b2) = weights(net)
    h = F.relu(F.relu(x @ w0.T + b0) @ w1.T + b1)
    torch.testing.assert_close(net(x), h @ w2.T + b2)


@pytest.mark.parametrize("activation", ["exp", "softplus"])
def test_density_is_the_activated_first_output_plus_the_bias(activation):
    torch.manual_seed(0)
    field = DensityField(Frequency(2), 8, 2, skips=[1], feature_dim=4, activation=activation, bias=-0.5)
    u = torch.rand(6, 3)
    density, feature = field(u)
    raw = field.mlp(field.encoding(u))
    torch.testing.assert_close(feature, raw)
    expected = torch.exp(raw[:, 0] - 0.5) if activation == "exp" else torch.log1p(torch.exp(raw[:, 0] - 0.5))
    torch.testing.assert_close(density, expected)
    assert field.mlp.skips == {1}
    window = torch.linspace(0, 1, 15)
    torch.testing.assert_close(field(u, window)[1], field.mlp(field.encoding(u, window)))
    assert not torch.allclose(field(u, window)[1], raw)


def test_a_density_that_may_be_negative_is_refused():
    with pytest.raises(ValueError, match="density activation 'tanh' may be negative"):
        DensityField(Frequency(1), activation="tanh")


class Direction(nn.Module):
    out_dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def forward(self, dirs):
        self.calls.append(len(dirs))
        return dirs[:, :2] * 10


def test_a_colour_is_the_sigmoid_of_a_network_over_its_parts_in_their_order():
    torch.manual_seed(0)
    field = ColorField(4, Direction(), use_normal=True, use_point=True, hidden_dim=8, n_hidden=1)
    feature, points, normals = torch.randn(5, 4), torch.randn(5, 3), torch.randn(5, 3)
    dirs, index = torch.randn(2, 3), torch.tensor([0, 0, 1, 1, 1])
    found = field(feature, dirs, points, normals, index).rgb
    parts = torch.cat([feature, normals, points, dirs[index][:, :2] * 10], -1)
    torch.testing.assert_close(found, 1 / (1 + torch.exp(-field.mlp(parts))))
    assert field.direction.calls == [2]  # encoded once a ray
    torch.testing.assert_close(field(feature, dirs[index], points, normals).rgb, found)


def test_a_colour_reads_only_what_it_was_built_for():
    torch.manual_seed(0)
    feature = torch.randn(5, 4)
    field = ColorField(4, hidden_dim=8)
    torch.testing.assert_close(field(feature, torch.zeros(5, 3)).rgb, torch.sigmoid(field.mlp(feature)))
    dirs = torch.zeros(5, 3)
    with pytest.raises(ValueError, match="built to read normals, and the model passed none"):
        ColorField(4, use_normal=True)(feature, dirs, torch.zeros(5, 3))
    with pytest.raises(ValueError, match="built to read unit_points, and the model passed none"):
        ColorField(4, use_point=True)(feature, dirs, None, torch.zeros(5, 3))


def make_surface(encoding=None, **settings) -> SurfaceField:
    torch.manual_seed(0)
    return SurfaceField(encoding or Frequency(4), **{"feature_dim": 5, "hidden_dim": 32, **settings})


def sphere_points(n: int = 400) -> torch.Tensor:
    torch.manual_seed(1)
    return F.normalize(torch.randn(n, 3), dim=-1)


DEEP = {"hidden_dim": 256, "n_hidden": 4}


@pytest.mark.parametrize("skips", [(), (2,), (1, 3)])
@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_a_deep_network_starts_as_a_sphere_with_and_without_skips(skips, scale):
    """The columns of the waves start at zero, also where the input joins again: else the start is no sphere."""
    field = make_surface(skips=skips, radius=scale, init_radius=0.5, **DEEP)
    d = sphere_points()
    with torch.no_grad():
        inner, outer = (field.level(t * scale * d) for t in (0.25, 0.9))
        f, _, gradient = field.with_gradient(0.5 * scale * d)
    assert inner.max() < 0 < outer.min()
    # round: directions agree to less than a tenth of the radius (waves at random weights: 0.15 to 0.3)
    assert float(f.std()) < 0.08 * scale
    assert float((F.normalize(gradient, dim=-1) * d).sum(-1).mean()) > 0.94


@pytest.mark.parametrize("skips", [(), (1,), (2,)])
def test_the_start_ignores_the_waves_and_sees_the_point(skips):
    field = make_surface(skips=skips, weight_norm=False, **DEEP)
    e_dim = field.encoding.out_dim
    for k, layer in enumerate(field.layers):
        weight = layer.weight.detach()
        if k == 0:
            assert (weight[:, 3:] == 0).all()
            assert weight[:, :3].abs().min() > 0
        elif k in skips:
            assert weight.shape[1] == 256 + e_dim
            assert (weight[:, 256 + 3 :] == 0).all()
            assert weight[:, : 256 + 3].abs().min() > 0
        else:
            assert weight.abs().min() > 0
        assert (layer.bias == 0).all()
        kept = weight[weight != 0]
        assert float(kept.std()) == pytest.approx(math.sqrt(2 / 256), rel=0.1)
    assert float(field.head.weight.mean()) == pytest.approx(math.sqrt(math.pi / 256), rel=1e-3)
    assert float(field.head.weight.std()) == pytest.approx(1e-4, rel=0.1)
    torch.testing.assert_close(field.head.bias, torch.full((5,), -0.5))


def test_inside_out_turns_the_head():
    field = make_surface(inside_out=True, init_radius=0.3, weight_norm=False)
    assert float(field.head.weight.mean()) == pytest.approx(-math.sqrt(math.pi / 32), rel=1e-3)
    torch.testing.assert_close(field.head.bias, torch.full((5,), 0.3))


@pytest.mark.parametrize(("init_radius", "at", "scale"), [(0.3, 0.3, 2.0), (0.6, 0.6, 1.0), (0.5, 0.9, 1.5)])
def test_one_hidden_layer_starts_at_its_expected_value(init_radius, at, scale):
    """E f / r = sqrt(pi H) E softplus(sqrt(2 / H) |x / r| z) - init_radius with z normal: the ReLU's exact
    distance to the sphere, and a little that the softplus adds."""
    h = 512
    field = make_surface(init_radius=init_radius, hidden_dim=h, radius=scale)
    z = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    softplus = F.softplus(math.sqrt(2 / h) * at * z, beta=100)
    expected = math.sqrt(math.pi * h) * float((softplus * density).sum() * (z[1] - z[0])) - init_radius
    with torch.no_grad():
        f = field.level(scale * at * sphere_points())
    assert float(f.mean()) / scale == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("encoding", [Frequency(2), HashGrid(2, 2, 8, 4, init=0.5)])
@pytest.mark.parametrize(("skips", "n_hidden"), [((), 1), ((), 3), ((2,), 3)])
def test_the_field_by_hand(encoding, skips, n_hidden):
    torch.manual_seed(0)
    field = make_surface(encoding, radius=1.5, n_hidden=n_hidden, skips=skips, beta=20.0, weight_norm=False)
    with torch.no_grad():
        for p in field.parameters():
            p += 0.1 * torch.randn_like(p)
    x = torch.rand(9, 3) * 3 - 1.5
    window = torch.linspace(0.2, 1, encoding.out_dim)
    for w in (None, window):
        e = encoding(x / 3 + 0.5, w)
        h = e
        for k, layer in enumerate(field.layers):
            h = torch.cat([h, e], -1) / math.sqrt(2) if k in skips else h
            h = torch.log1p(torch.exp(20 * (h @ layer.weight.T + layer.bias))) / 20
        out = h @ field.head.weight.T + field.head.bias
        sdf, feature = field(x, w)
        torch.testing.assert_close(feature, out, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(sdf, 1.5 * out[:, 0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(field.level(x, w), sdf)


def test_weight_norm_is_on_unless_it_is_switched_off():
    names = [name for name, _ in make_surface().named_parameters()]
    assert sum("parametrizations.weight" in name for name in names) == 4  # norm and direction of two layers
    assert not [n for n, _ in make_surface(weight_norm=False).named_parameters() if "parametrizations" in n]


def test_a_field_without_hidden_layers_is_refused():
    with pytest.raises(ValueError, match=r"at least one hidden layer, found n_hidden=0"):
        make_surface(n_hidden=0)
    make_surface(n_hidden=1)


def test_a_skip_of_the_bare_point_starts_as_a_sphere_too():
    """With no feature but the point, the sphere's start once erased the whole layer, and weight norm made it nan."""

    class Point(Frequency):
        def __init__(self) -> None:
            super().__init__(1)
            self.out_dim = 3

        def forward(self, u, window=None):
            return 2 * u - 1

        with_pullback = Encoding.with_pullback

    torch.manual_seed(0)
    field = SurfaceField(Point(), n_hidden=4, hidden_dim=256, skips=[2], init_radius=0.5)
    points = torch.nn.functional.normalize(torch.randn(200, 3), dim=-1)
    inner, outer = field.level(0.3 * points), field.level(0.8 * points)
    assert torch.isfinite(inner).all()
    assert float(inner.mean()) < -0.05
    assert float(outer.mean()) > 0.05
