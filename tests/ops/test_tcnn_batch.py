"""The two encodings without parameters by tiny-cuda-nn, on a stand-in with the package's interface and layout."""

import sys
from math import pi
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from isosweep.ops import batch

pytest.importorskip("triton", reason="Triton is not installed (it has wheels for Linux only)")

from isosweep.ops import tcnn_batch

if torch.cuda.is_available():
    pytest.skip("there is a card: the stand-in is for machines without", allow_module_level=True)


class Encoding(nn.Module):
    """tinycudann.Encoding: directions are given in [0, 1]; sine and cosine of an octave lie side by side."""

    calls = 0

    def __init__(
        self, n_input_dims: int, encoding_config: dict, seed: int = 1337, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        assert dtype == torch.float32
        self.dims, self.config = n_input_dims, dict(encoding_config)
        self.params = nn.Parameter(torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        assert (x.dtype, x.shape[1]) == (torch.float32, self.dims)
        assert len(x)
        assert not x.requires_grad
        Encoding.calls += 1
        if self.config["otype"] == "SphericalHarmonics":
            assert set(self.config) == {"otype", "degree"}
            assert float(x.min()) >= 0
            return batch.spherical_harmonics(2 * x - 1, self.config["degree"])
        assert set(self.config) == {"otype", "n_frequencies"}
        out = []
        for coordinate in x.T:
            for k in range(self.config["n_frequencies"]):
                out += [torch.sin(2**k * pi * coordinate), torch.cos(2**k * pi * coordinate)]
        return torch.stack(out, dim=-1)


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tinycudann")
    module.Encoding = Encoding  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "tinycudann", module)
    monkeypatch.setattr(tcnn_batch, "_on_card", lambda x: True)
    monkeypatch.setattr(Encoding, "calls", 0)
    tcnn_batch._encoding.cache_clear()


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_spherical_harmonics_of_unit_directions(degree: int) -> None:
    dirs = torch.nn.functional.normalize(torch.randn(50, 3), dim=-1)
    torch.testing.assert_close(
        tcnn_batch.spherical_harmonics(dirs, degree),
        batch.spherical_harmonics(dirs, degree),
        atol=1e-5,
        rtol=1e-5,
    )
    assert Encoding.calls == 1


@pytest.mark.parametrize("scale", [1.0, pi])
@pytest.mark.parametrize("dims", [1, 3, 4])
def test_waves_have_our_order(scale: float, dims: int) -> None:
    x = torch.rand(50, dims) * 2 - 1
    bands = scale * 2.0 ** torch.arange(5)
    torch.testing.assert_close(
        tcnn_batch.waves(x, bands, scale), batch.waves(x, bands, scale), atol=5e-5, rtol=0
    )
    assert Encoding.calls == 1


def test_what_asks_for_a_gradient_or_more_digits_takes_the_definition() -> None:
    bands = 2.0 ** torch.arange(3)
    point = torch.rand(4, 3, requires_grad=True)
    tcnn_batch.waves(point, bands, 1.0).sum().backward()
    assert point.grad is not None
    assert torch.equal(tcnn_batch.waves(torch.rand(0, 3), bands, 1.0), torch.zeros(0, 18))
    assert tcnn_batch.waves(torch.rand(2, 3).double(), bands.double(), 1.0).dtype == torch.float64
    assert tcnn_batch.waves(torch.rand(2, 3), bands[:0], 1.0).shape == (2, 0)
    tcnn_batch.spherical_harmonics(point, 2).sum().backward()
    assert Encoding.calls == 0
    with torch.no_grad():
        tcnn_batch.waves(point, bands, 1.0)
    assert Encoding.calls == 1
