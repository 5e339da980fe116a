"""The self-test of the page compares every kernel, times it, and tells wrong, slow and crashed ones."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from isosweep import ops
from isosweep.bench.timing import Case
from isosweep.doctor import kernels, tested
from isosweep.doctor.page import Finding

GOOD = kernels.Tested("cpu", "numba is there", "CPU", 1.2, 61, 5e-6, [], [("marching", "9 rays", 2.0, 30.0)])


@pytest.fixture
def _backend() -> Iterator[None]:
    """The test selects a backend for the process; give the old one back."""
    name = ops.active().name
    yield
    ops.use(name, "cpu")


@pytest.mark.usefixtures("_backend")
def test_this_machine_computes_what_the_reference_does(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"isosweep": lambda: None, "torch reference": lambda: None, "another": pytest.fail}
    monkeypatch.setattr(tested.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(tested.kernels, "encoding_cases", lambda *_: iter([Case("encoding", "few", ways)]))
    monkeypatch.setattr(tested.kernels, "field_cases", lambda *_: iter(()))
    monkeypatch.setattr(tested.kernels, "ray_cases", lambda *_: iter(()))
    threads = torch.get_num_threads()
    found = tested.test(60.0)
    torch.set_num_threads(threads)
    assert (found.backend, found.device, found.wrong) == ("cpu", "CPU", [])
    assert found.outputs > 50
    assert found.largest_error < 1e-4
    assert [row[:2] for row in found.times] == [("encoding", "few")]
    assert list(tested.timed(torch.device("cpu"), "cpu", until=0.0)) == []


def test_what_is_told() -> None:
    right, speed = kernels.told(GOOD)
    assert right.text == "61 outputs and gradients agree with the reference to 5e-06; ready after 1 s"
    assert speed == Finding("speed", "ok", "marching, 9 rays: 2 ms, plain PyTorch 30 ms (15.0 times)")
    wrong, _ = kernels.told(replace(GOOD, wrong=["mlp: relative error 1.0e+00, allowed 1e-04"]))
    assert (wrong.state, "mlp" in wrong.text) == ("BROKEN", True)
    (_, slow) = kernels.told(replace(GOOD, times=[("marching", "9 rays", 30.0, 2.0)]))
    assert slow.state == "look"
    (plain,) = kernels.told(replace(GOOD, backend="torch", why="numba cannot be imported", times=[]))
    assert (plain.state, plain.text) == ("BROKEN", "numba cannot be imported")


def test_a_self_test_that_dies_or_hangs_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def died(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], -11, "", "something\nSegmentation fault")

    def hangs(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired([], 1.0)

    monkeypatch.setattr(kernels.subprocess, "run", died)
    (found,) = kernels.findings(1.0)
    assert (found.state, found.text) == (
        "BROKEN",
        "the self-test ended with exit code -11: Segmentation fault",
    )
    monkeypatch.setattr(kernels.subprocess, "run", hangs)
    (found,) = kernels.findings(1.0)
    assert found.text == "the self-test did not end within 301 s"
