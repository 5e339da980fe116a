"""The one-pass backward of softplus with its slope, against autograd in float64, on every backend."""

from types import ModuleType

import pytest
import torch

from isosweep import ops
from isosweep.ops import backends, softplus_with_slope
from isosweep.ops.cpu import backend as cpu

BETA = 100.0


def truth(a: torch.Tensor, d_value: torch.Tensor | None, d_slope: torch.Tensor) -> torch.Tensor:
    a = a.double().requires_grad_()
    total = (torch.sigmoid(BETA * a) * d_slope.double()).sum()
    if d_value is not None:
        total = total + (torch.nn.functional.softplus(a, BETA) * d_value.double()).sum()
    return torch.autograd.grad(total, a)[0]


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 64), (3001, 64)])
@pytest.mark.parametrize("with_value", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient(kernels: ModuleType, shape: tuple[int, int], with_value: bool, dtype: torch.dtype) -> None:
    a = 0.1 * torch.randn(shape, dtype=dtype)
    slope = torch.sigmoid(BETA * a)
    # transposed: no backend may take strides for granted
    d_slope, d_value = (torch.randn(shape[::-1], dtype=dtype).T for _ in range(2))
    given = d_value if with_value else None
    ours = kernels.softplus_backward(slope, given, d_slope, BETA)
    assert ours.shape == shape
    atol = 2e-4 if dtype == torch.float32 else 1e-10  # beta times the rounding of 1 - slope
    torch.testing.assert_close(ours.double(), truth(a, given, d_slope), atol=atol, rtol=1e-4)


def test_saturated_slopes_have_no_gradient(kernels: ModuleType) -> None:
    slope, one = torch.tensor([0.0, 1.0, 1.0, 0.0]), torch.ones(4)
    assert kernels.softplus_backward(slope, one, one, BETA).tolist() == [0, 1, 1, 0]


def test_the_same_bits_at_any_number_of_threads() -> None:
    slope, d_value, d_slope = torch.rand(3, 4000, 64)
    before = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            results.append(cpu.softplus_backward(slope, d_value, d_slope, BETA))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_a_recorded_backward_can_be_differentiated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a backend whose kernels cannot: the reference answers while a graph is recorded."""
    monkeypatch.setattr(backends, "_active", (ops.Choice("cpu", "test"), "isosweep.ops.cpu.backend"))

    def f(a: torch.Tensor) -> torch.Tensor:
        value, slope = softplus_with_slope(a, 3.0)
        return (value * slope).sum()

    a = torch.randn(20, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(f, a)
    torch.autograd.gradgradcheck(f, a)
