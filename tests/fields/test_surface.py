"""SDF fields: the sphere they start as, and their first-order gradient against three references."""

import itertools

import pytest
import torch

from isosweep.encodings.frequency import Frequency
from isosweep.encodings.hashgrid import HashGrid
from isosweep.fields import finite_difference
from isosweep.fields.surface import SurfaceField
from isosweep.ops import softplus_with_slope

SHAPES = {"one_layer": {"n_hidden": 1}, "skip": {"n_hidden": 4, "skips": [2], "hidden_dim": 32}}


def encoding(name: str):
    if name == "freq":
        return Frequency(4)
    start = 2 if name == "progressive" else 0
    return HashGrid(4, 2, 8, 4, 1.5, start_level=start, init=0.1)


def field(name: str, shape: str = "one_layer", *, sphere: bool = False, **settings) -> SurfaceField:
    torch.manual_seed(3)
    made = SurfaceField(encoding(name), **{"feature_dim": 5, **SHAPES[shape], **settings})
    if not sphere:  # the init zeroes the weights that a gradient test must exercise
        with torch.no_grad():
            for p in made.parameters():
                p += 0.1 * torch.randn_like(p)
    return made


@pytest.mark.parametrize(("name", "shape"), itertools.product(["freq", "hashgrid", "progressive"], SHAPES))
@pytest.mark.parametrize("radius", [1.0, 1.5])
def test_gradient_and_its_loss_agree_with_torchs_double_backward(name, shape, radius):
    f = field(name, shape, radius=radius).double()
    window = f.encoding.window(0, 100)
    x = ((torch.rand(33, 3, dtype=torch.float64) * 2 - 1) * radius).requires_grad_()

    sdf, feature, grad = f.with_gradient(x.detach(), window)
    value = f.level(x, window)
    (expected,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    torch.testing.assert_close(sdf, value)
    torch.testing.assert_close(grad, expected)

    parameters = [p for p in f.parameters() if p.requires_grad]
    loss = (grad.norm(dim=-1) - 1).square().mean() + (grad * feature[:, :3]).sum()
    twice = (expected.norm(dim=-1) - 1).square().mean() + (expected * f(x, window)[1][:, :3]).sum()
    ours = torch.autograd.grad(loss, parameters, allow_unused=True)
    torchs = torch.autograd.grad(twice, parameters, allow_unused=True)
    for a, b in zip(ours, torchs, strict=True):
        torch.testing.assert_close(
            torch.zeros(()).double() if a is None else a, torch.zeros(()).double() if b is None else b
        )


@pytest.mark.parametrize("name", ["freq", "hashgrid", "progressive"])
def test_gradient_agrees_with_float64_finite_differences(name):
    f = field(name).double()
    window = f.encoding.window(0, 100)
    # away from cell borders, where the grid has a kink
    x = torch.rand(50, 3, dtype=torch.float64) * 2 - 1
    _, _, grad = f.with_gradient(x, window)
    eps = 1e-6
    columns = [
        (f.level(x + eps * e, window) - f.level(x - eps * e, window)) / (2 * eps)
        for e in torch.eye(3, dtype=torch.float64)
    ]
    close = (grad - torch.stack(columns, -1)).abs().max(-1).values < 1e-4
    assert close.double().mean() > 0.98


@pytest.mark.parametrize(("name", "shape"), itertools.product(["freq", "hashgrid"], ["one_layer"]))
@pytest.mark.parametrize("radius", [0.6, 1.0, 1.5])
def test_starts_as_a_sphere_with_unit_gradient(name, shape, radius):
    f = field(name, shape, sphere=True, radius=radius, hidden_dim=256)
    d = torch.nn.functional.normalize(torch.randn(500, 3), dim=-1)
    assert (f.level(0.2 * radius * d) < 0).all()
    assert (f.level(0.9 * radius * d) > 0).all()
    _, _, grad = f.with_gradient(0.5 * radius * d)
    assert 0.8 < float(grad.norm(dim=-1).mean().detach()) < 1.2
    assert float((torch.nn.functional.normalize(grad, dim=-1) * d).sum(-1).mean().detach()) > 0.97


def test_inside_out_turns_the_sign():
    f = field("freq", sphere=True, inside_out=True, hidden_dim=256)
    d = torch.nn.functional.normalize(torch.randn(100, 3), dim=-1)
    assert (f.level(0.1 * d) > 0).all()
    assert (f.level(0.95 * d) < 0).all()


def test_softplus_matches_torch_and_its_slope_at_extremes():
    a = torch.tensor([-50.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 50.0], dtype=torch.float64, requires_grad=True)
    value, slope = softplus_with_slope(a, 100.0)
    torch.testing.assert_close(value, torch.nn.functional.softplus(a, beta=100))
    torch.testing.assert_close(slope, torch.sigmoid(100 * a))
    assert torch.autograd.gradcheck(
        lambda z: softplus_with_slope(z, 3.0), (torch.randn(6).double().requires_grad_(),)
    )
    assert torch.autograd.gradgradcheck(
        lambda z: softplus_with_slope(z, 3.0), (torch.randn(6).double().requires_grad_(),)
    )


def test_no_points_give_empty_outputs():
    sdf, feature, grad = field("hashgrid").with_gradient(torch.zeros(0, 3))
    assert (sdf.shape, feature.shape, grad.shape) == ((0,), (0, 5), (0, 3))


def test_taps_are_exact_on_a_quadratic_also_at_the_face_of_the_box():
    def level(p: torch.Tensor) -> torch.Tensor:
        return (p * torch.tensor([1.0, 2.0, 3.0], dtype=p.dtype)).sum(-1) + 0.5 * p.square().sum(-1)

    x = torch.tensor([[0.0, 0.0, 0.0], [0.3, -0.2, 0.1], [0.995, 0.0, 0.0]], dtype=torch.float64)
    eps = torch.tensor(0.01, dtype=torch.float64)
    grad, laplacian = finite_difference.taps(level, x, level(x), eps, radius=1.0)
    torch.testing.assert_close(grad[:2], torch.tensor([1.0, 2.0, 3.0]).double() + x[:2])
    torch.testing.assert_close(laplacian, torch.full((3,), 3.0, dtype=torch.float64))
    # spans h+ = 0.005 and h- = 0.01: the secant of x + x^2/2 between 0.985 and 1
    assert float(grad[2, 0]) == pytest.approx(1 + (1.0**2 - 0.985**2) / 2 / 0.015)


def test_taps_at_the_face_itself_leave_that_axis_out():
    x = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    grad, laplacian = finite_difference.taps(
        lambda p: p.square().sum(-1), x, x.square().sum(-1), torch.tensor(0.1).double(), radius=1.0
    )
    assert torch.isfinite(grad).all()
    torch.testing.assert_close(laplacian, torch.tensor([4.0]).double())


def test_the_layer_before_a_skip_is_narrower_as_in_neus():
    f = SurfaceField(Frequency(6), hidden_dim=256, n_hidden=8, skips=[4], feature_dim=257, narrow=True)
    shapes = [(layer.in_features, layer.out_features) for layer in [*f.layers, f.head]]
    assert shapes == [(39, 256), *[(256, 256)] * 2, (256, 217), *[(256, 256)] * 4, (256, 257)]
    wide = SurfaceField(Frequency(6), hidden_dim=64, n_hidden=3, skips=[2, 3])
    assert [(layer.in_features, layer.out_features) for layer in wide.layers] == [
        (39, 64),
        (64, 64),
        (103, 64),
    ]
    last = SurfaceField(Frequency(1), hidden_dim=16, n_hidden=2, skips=[2], narrow=True)
    assert last.head.in_features == 16  # a skip behind the last layer is none
    with pytest.raises(ValueError, match="narrow leaves 32 - 39 outputs for the layer before a skip"):
        SurfaceField(Frequency(6), hidden_dim=32, n_hidden=8, skips=[4], narrow=True)


def test_the_feature_leaves_out_the_distance_where_asked():
    whole, rest = (field("freq", distance_feature=given) for given in (True, False))
    x = torch.rand(5, 3)
    torch.testing.assert_close(rest(x)[1], whole(x)[1][:, 1:])
    torch.testing.assert_close(rest.with_gradient(x)[1], whole.with_gradient(x)[1][:, 1:])
    torch.testing.assert_close(rest(x)[0], whole(x)[0])
