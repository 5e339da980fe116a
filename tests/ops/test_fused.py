"""Networks of tiny-cuda-nn's: sizes and layout, on a stand-in for the package, which needs a card."""

import itertools
import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from isosweep import ops
from isosweep.ops import fused
from isosweep.ops.backends import Choice
from tests.support.tcnn_network import Network


@pytest.fixture
def _tcnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if tiny-cuda-nn were there and the backend."""
    module = ModuleType("tinycudann")
    module.Network = Network  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "tinycudann", module)
    monkeypatch.setattr(ops, "active", lambda: Choice("tcnn", "a stand-in"))
    fused._network.cache_clear()


def layers(*sizes: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(j, k, generator=generator) / k**0.5).requires_grad_()
        for k, j in itertools.pairwise(sizes)
    ]


def test_by_hand() -> None:
    """relu([2 - 1, -2 + 1]) = [1, 0], and with softplus of sharpness 2 log(1 + exp(+-2)) / 2."""
    weights = [torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([[3.0, 5.0]])]
    x = torch.tensor([[2.0, -1.0]])
    assert ops.fused_mlp(x, weights, "FullyFusedMLP").tolist() == [[3.0]]
    soft = [0.5 * torch.tensor(s).exp().log1p() for s in (2.0, -2.0)]
    torch.testing.assert_close(ops.fused_mlp(x, weights, "CutlassMLP", 2.0)[0, 0], 3 * soft[0] + 5 * soft[1])


def test_the_layout_by_hand() -> None:
    """Rows of 3 inputs become rows of 16; the one output becomes 16 rows."""
    first, last = torch.arange(6.0).reshape(2, 3) + 1, torch.tensor([[7.0, 8.0]])
    flat = fused.packed([first, last], None)
    assert flat.shape == (2 * 16 + 16 * 2,)
    assert flat[:18].tolist() == [1, 2, 3, *[0] * 13, 4, 5]
    assert flat[32:36].tolist() == [7, 8, 0, 0]
    assert flat.count_nonzero() == 8
    sharp = fused.packed([first, last], 100.0)
    assert sharp[0] == 10
    assert sharp[32] == pytest.approx(0.7)


@pytest.mark.usefixtures("_tcnn")
@pytest.mark.parametrize("beta", [None, 100.0, 3.0])
@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("FullyFusedMLP", (35, 64, 64, 13)), ("CutlassMLP", (16, 24, 16)), ("CutlassMLP", (27, 40, 40, 40, 1))],
)
def test_its_network_is_ours_in_half_precision(kind: str, sizes: tuple[int, ...], beta: float | None) -> None:
    x = torch.rand(50, sizes[0], generator=torch.Generator().manual_seed(1)) - 0.5
    both = []
    for run in (ops.fused_mlp, lambda x, w, _kind, beta: fused.plain(x, w, beta)):
        weights, place = layers(*sizes), x.clone().requires_grad_()
        out = run(place, weights, kind, beta)
        assert out.dtype == torch.float32
        (out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum().backward()
        both.append([out.detach(), place.grad, *(w.grad for w in weights)])
    for found, expected in zip(*both, strict=True):
        assert found is not None
        assert expected is not None
        assert expected.abs().max() > 1e-2
        torch.testing.assert_close(found, expected, rtol=0, atol=6e-3 * float(expected.abs().max()))
    assert not torch.equal(*(v[0] for v in both))  # it was the stand-in


@pytest.mark.usefixtures("_tcnn")
def test_its_own_parameters_are_never_used_and_no_rows_are_no_call() -> None:
    weights = layers(5, 16, 2)
    assert ops.fused_mlp(torch.zeros(0, 5), weights, "FullyFusedMLP").shape == (0, 2)
    assert fused._network.cache_info().currsize == 0
    ops.fused_mlp(torch.ones(3, 5), weights, "FullyFusedMLP")
    ops.fused_mlp(torch.ones(3, 5), weights, "FullyFusedMLP")
    assert fused._network.cache_info().currsize == 1
    module = fused._network("FullyFusedMLP", (5, 2, 16, 1), "ReLU", torch.device("cpu"))
    assert not next(module.parameters()).any()


@pytest.mark.usefixtures("_tcnn")
def test_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Larger(Network):
        def __init__(self, **arguments: object) -> None:
            super().__init__(**arguments)  # pyright: ignore[reportArgumentType]
            self.params = torch.nn.Parameter(torch.zeros(3))

    monkeypatch.setattr(sys.modules["tinycudann"], "Network", Larger)
    words = (
        "a FullyFusedMLP of 5, 1 times 16 and 2 units out in 3 numbers, isosweep in 512: use network=layers"
    )
    with pytest.raises(ValueError, match=words):
        ops.fused_mlp(torch.ones(3, 5), layers(5, 16, 2), "FullyFusedMLP")


@pytest.mark.parametrize(
    ("kind", "width", "n_hidden", "words"),
    [
        ("MLP", 64, 1, "network is one of layers, FullyFusedMLP, CutlassMLP, found 'MLP'"),
        ("FullyFusedMLP", 48, 1, "of 16, 32, 64, 128 units, found 48: use one of them, or CutlassMLP"),
        ("CutlassMLP", 50, 1, "a multiple of 8 units, found 50"),
        ("CutlassMLP", 64, 0, "at least one hidden layer, found n_hidden=0"),
    ],
)
def test_what_it_has_not(kind: str, width: int, n_hidden: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fused.check(kind, width, n_hidden, "network")


def test_what_it_has() -> None:
    for width in fused.WIDTHS:
        fused.check("FullyFusedMLP", width, 2, "network")
    fused.check("CutlassMLP", 256, 8, "network")
