"""Fields whose network is tiny-cuda-nn's: their layers on a CPU, and in half precision on a stand-in."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from isosweep import ops
from isosweep.app.checks import check_networks
from isosweep.config.check import ConfigError
from isosweep.encodings.hashgrid import HashGrid
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.fields.surface import SurfaceField
from isosweep.models.neus import NeuS
from isosweep.ops import fused
from isosweep.ops.backends import Choice
from isosweep.samplers.uniform import Uniform
from tests.support.tcnn_network import Network


@pytest.fixture
def _tcnn(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tinycudann")
    module.Network = Network  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "tinycudann", module)
    monkeypatch.setattr(ops, "active", lambda: Choice("tcnn", "a stand-in"))
    fused._network.cache_clear()


def grid() -> HashGrid:
    torch.manual_seed(0)
    return HashGrid(n_levels=3, log2_size=8, base_resolution=4)


def points(n: int = 400) -> torch.Tensor:
    return 2 * torch.rand(n, 3, generator=torch.Generator().manual_seed(2)) - 1


def surface(**more: object) -> SurfaceField:
    return SurfaceField(grid(), network="FullyFusedMLP", **more)  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("_tcnn")
@pytest.mark.parametrize("n_hidden", [1, 2])
@pytest.mark.parametrize("inside_out", [False, True])
def test_the_start_is_a_sphere_in_half_precision_too(n_hidden: int, inside_out: bool) -> None:
    field = surface(hidden_dim=128, n_hidden=n_hidden, init_radius=0.4, radius=1.5, inside_out=inside_out)
    x = 1.5 * points()
    sphere = (x.norm(dim=-1) - 0.6) * (-1 if inside_out else 1)
    found = field.level(x)
    assert len(field.state_dict()) > 0
    assert fused._network.cache_info().currsize == 1  # the stand-in was asked
    assert (found - sphere).abs().mean() < 0.25  # the units are random
    field.eval()
    torch.testing.assert_close(found, field.level(x), atol=4e-3, rtol=0)
    assert not torch.equal(found, field.level(x))


@pytest.mark.usefixtures("_tcnn")
def test_the_gradient_is_that_of_the_layers() -> None:
    field = surface()
    with torch.no_grad():
        field.encoding.table.uniform_(-0.1, 0.1)  # pyright: ignore
        field.layers[0].weight.add_(0.05)  # pyright: ignore
    x = points(50).requires_grad_()
    value, feature, gradient = field.with_gradient(x.detach())
    field.eval()
    (expected,) = torch.autograd.grad(field.level(x).sum(), x, allow_unused=True)
    assert feature.shape == (50, 13)
    assert fused._network.cache_info().currsize == 0
    taps = torch.eye(3) * 1e-3
    for k in range(3):
        slope = (field.level(x.detach() + taps[k]) - field.level(x.detach() - taps[k])) / 2e-3
        torch.testing.assert_close(gradient[:, k], slope, atol=2e-2, rtol=0)
    torch.testing.assert_close(value, field.level(x.detach()))
    assert expected is None or torch.isfinite(expected).all()


@pytest.mark.usefixtures("_tcnn")
@pytest.mark.parametrize("kind", ["FullyFusedMLP", "CutlassMLP"])
def test_densities_and_colours(kind: str) -> None:
    density, color = DensityField(grid(), network=kind), ColorField(16, network=kind)
    u = points(30) / 2 + 0.5
    sigma, feature = density(u)
    rgb = color(feature, points(30)).rgb
    (sigma.sum() + rgb.sum()).backward()
    for module in (density, color):
        for name, p in module.named_parameters():
            assert p.grad is not None, name
            assert p.grad.abs().max() > 0, name
            assert "bias" not in name
    plain = fused.plain(
        density.encoding(u), [p for n, p in density.named_parameters() if "weight" in n], None
    )
    torch.testing.assert_close(feature, plain, atol=1e-3, rtol=0)
    assert not torch.equal(feature, plain)


def test_without_the_package_the_same_weights_are_evaluated() -> None:
    density = DensityField(grid(), network="FullyFusedMLP")
    other = DensityField(grid(), network="CutlassMLP")
    other.load_state_dict(density.state_dict())
    u = points(30) / 2 + 0.5
    assert torch.equal(density(u)[0], other(u)[0])


def test_what_is_refused() -> None:
    for make in (
        lambda: DensityField(grid(), skips=[1], n_hidden=2, network="CutlassMLP"),
        lambda: SurfaceField(grid(), skips=[1], n_hidden=2, network="CutlassMLP"),
    ):
        with pytest.raises(
            ValueError, match=r"network=CutlassMLP has no skips, found skips=\[1\]: set skips=\[\]"
        ):
            make()
    with pytest.raises(ValueError, match="hidden layers of 16, 32, 64, 128 units, found 40"):
        ColorField(16, hidden_dim=40, network="FullyFusedMLP")


def test_differences_of_half_precision_are_refused() -> None:
    color = ColorField(13, use_normal=True)
    with pytest.raises(
        ValueError, match=r"in half precision.*model.gradient=analytic, or model.field.network=layers"
    ):
        NeuS(surface(), color, Uniform(), gradient="finite_difference")
    assert "laplacian" not in NeuS(surface(), color, Uniform()).provides
    assert "laplacian" in NeuS(SurfaceField(grid()), color, Uniform()).provides


def test_training_needs_the_backend() -> None:
    model = nn.Module()
    model.density = DensityField(grid(), network="FullyFusedMLP")
    check_networks(model, "tcnn")
    words = r"'density.mlp' of this model is a FullyFusedMLP.*the backend is cuda: set backend=tcnn .*or network=layers"
    with pytest.raises(ConfigError, match=words):
        check_networks(model, "cuda")
    model.density = DensityField(grid())
    check_networks(model, "cpu")
