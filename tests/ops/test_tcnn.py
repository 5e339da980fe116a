"""The adapter for tiny-cuda-nn, on a stand-in with the package's interface (the package needs a card)."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isosweep.ops import GridSpec, reference
from tests.ops.inputs import SPECS

pytest.importorskip("triton", reason="Triton is not installed (it has wheels for Linux only)")

from isosweep.ops import tcnn

if torch.cuda.is_available():
    pytest.skip("there is a card: the stand-in is for machines without", allow_module_level=True)


class Encoding(nn.Module):
    """tinycudann.Encoding as its documentation has it: flat parameters, one configuration, one precision."""

    def __init__(
        self, n_input_dims: int, encoding_config: dict, seed: int = 1337, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        assert n_input_dims == 3
        assert encoding_config["otype"] == "HashGrid"
        assert dtype == torch.float32
        self.spec = GridSpec(
            encoding_config["n_levels"],
            encoding_config["n_features_per_level"],
            encoding_config["log2_hashmap_size"],
            encoding_config["base_resolution"],
            encoding_config["per_level_scale"],
        )
        self.params = nn.Parameter(torch.zeros(self.spec.total * self.spec.n_features))

    def forward(self, x: Tensor) -> Tensor:
        assert not x.requires_grad
        return reference.grid_encode(x, self.params.reshape(self.spec.total, -1), self.spec)


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tinycudann")
    module.Encoding = Encoding  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "tinycudann", module)
    tcnn._encoding.cache_clear()


@pytest.mark.parametrize("n", [0, 1, 300])
def test_our_table_is_its_parameters(n: int) -> None:
    spec = SPECS["dense and hashed"]
    u = torch.rand(n, 3)
    tables = [torch.linspace(-1, 1, 2 * spec.total).reshape(-1, 2).requires_grad_() for _ in range(2)]
    ours, theirs = tcnn.grid_encode(u, tables[0], spec), reference.grid_encode(u, tables[1], spec)
    torch.testing.assert_close(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    torch.testing.assert_close(tables[0].grad, tables[1].grad)
    assert not next(tcnn._encoding(spec, u.device).parameters()).any()  # only ever ours


def test_surface_network() -> None:
    spec = SPECS["all dense"]
    table = torch.randn(spec.total, 2)
    layers = ((torch.randn(8, 9), torch.zeros(8)), (torch.randn(4, 8), torch.zeros(4)))
    for want in (True, False):
        ours = tcnn.surface_network(torch.full((3, 3), 0.3), table, spec, *layers, 100.0, want)
        theirs = reference.surface_network(torch.full((3, 3), 0.3), table, spec, *layers, 100.0, want)
        torch.testing.assert_close(ours[0], theirs[0])
        assert (ours[1] is None) == (not want)


def test_what_it_is_not_built_for() -> None:
    three = GridSpec(2, 3, 8, 4, 1.5)
    with pytest.raises(ValueError, match=r"1, 2, 4 or 8 features a row, got 3: change encoding.n_features"):
        tcnn.grid_encode(torch.rand(2, 3), torch.zeros(three.total, 3), three)
    wide = GridSpec(1, 1, 22, 2048, 1.0)
    with pytest.raises(ValueError, match="index overflows at resolution 2048"):
        tcnn.grid_encode(torch.rand(2, 3), torch.zeros(wide.total, 1), wide)
    with pytest.raises(ValueError, match=r"float32, got torch.float64"):
        tcnn.grid_encode(torch.rand(2, 3).double(), torch.zeros(4, 1), three)


def test_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS["all dense"]

    class Smaller(Encoding):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.params = nn.Parameter(torch.zeros(3))

    monkeypatch.setattr(sys.modules["tinycudann"], "Encoding", Smaller)
    with pytest.raises(ValueError, match="lays the grid out in 3 numbers, isosweep in"):
        tcnn.grid_encode(torch.rand(2, 3), torch.zeros(spec.total, 2), spec)
