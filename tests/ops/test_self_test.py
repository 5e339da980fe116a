"""The self-test of a backend: it passes where kernels are right, and says which are wrong."""

import inspect
from types import ModuleType
from typing import Any

import pytest
import torch

from isosweep import ops
from isosweep.ops import batch, reference, self_test
from tests.ops.conftest import OnCard

CPU = torch.device("cpu")


def test_every_kernel_of_the_interface_is_compared() -> None:
    tested = {name.split(" with ")[0] for name in self_test.CASES}
    kernels = {
        name for name in ops.__all__ if inspect.isfunction(getattr(ops, name)) and hasattr(reference, name)
    }
    assert kernels
    assert tested == kernels


def test_right_kernels_have_no_failure(kernels: Any) -> None:
    on_card = isinstance(kernels, OnCard)  # the self-test itself holds its tensors on the card
    module, device = (kernels.module, torch.device("cuda")) if on_card else (kernels, CPU)
    findings = self_test.self_test(module, device)
    assert [str(one) for one in self_test.failures(findings)] == []
    assert {one.kernel.partition(",")[0] for one in findings} == set(self_test.CASES)


def test_every_function_of_a_batch_is_compared() -> None:
    functions = {
        name for name in ops.__all__ if inspect.isfunction(getattr(ops, name)) and hasattr(batch, name)
    }
    assert set(self_test.BATCH_CASES) == functions - {"as_colors", "check_places"}  # the same everywhere


def test_a_right_batch_has_no_failure(batch_kernels: Any) -> None:
    on_card = isinstance(batch_kernels, OnCard)
    module, device = (batch_kernels.module, torch.device("cuda")) if on_card else (batch_kernels, CPU)
    findings = self_test.self_test(module, device, self_test.BATCH_CASES, batch)
    assert [str(one) for one in self_test.failures(findings)] == []
    assert {one.kernel.partition(",")[0] for one in findings} == set(self_test.BATCH_CASES)


def test_a_wrong_batch_is_named() -> None:
    module = ModuleType("wrong")
    vars(module).update(vars(batch), over=lambda rgb, mask, behind: rgb)
    found = self_test.self_test(module, CPU, self_test.BATCH_CASES, batch)
    assert {one.kernel for one in self_test.failures(found)} == {"over", "over, one colour"}


def wrong(**changes: Any) -> ModuleType:
    module = ModuleType("wrong")
    vars(module).update(vars(reference) | changes)
    return module


def failed(module: ModuleType) -> set[str]:
    return {one.kernel for one in self_test.failures(self_test.self_test(module, CPU))}


def test_a_wrong_value_is_named() -> None:
    def late(*args: Any) -> Any:
        samples = reference.march(*args)
        return type(samples)(samples.ray_index, samples.t + 1e-3, samples.dt, samples.offsets)

    assert failed(wrong(march=late)) == {"march, sum of t", "march with a cone, sum of t"}


def test_a_wrong_gradient_is_named() -> None:
    def halved(alpha: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        right = reference.render_weights(alpha, offsets)
        return right.detach() + 0.5 * (right - right.detach())

    assert failed(wrong(render_weights=halved)) == {"render_weights, gradient of alpha"}


def test_a_kernel_that_raises_or_has_another_shape_is_a_finding() -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("ptxas: no such card\nand more")

    findings = self_test.self_test(
        wrong(visible=broken, pullback=lambda jac, g: (jac * g[:, :, None]).sum(0)), CPU
    )
    texts = [str(one) for one in self_test.failures(findings)]
    assert "visible: RuntimeError: ptxas: no such card" in texts
    assert any("pullback: the output has the shape (12, 3) instead of (200, 3)" in t for t in texts)


@pytest.mark.parametrize("radius", [1 - 2e-6, 1 + 2e-6])
def test_no_sample_lies_on_a_cells_face(radius: float, monkeypatch: pytest.MonkeyPatch) -> None:
    double = {
        name: self_test.CASES[name](reference, CPU, torch.float64) for name in ("march", "march with a cone")
    }
    monkeypatch.setattr(self_test, "RADIUS", radius)
    for name, expected in double.items():
        moved = self_test.CASES[name](reference, CPU, torch.float64)
        assert torch.equal(moved["samples of rays"], expected["samples of rays"])
        assert int(expected["samples of rays"].sum()) > 100
