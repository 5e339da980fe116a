"""Choosing a backend: what is taken, what is refused, and in which words."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from isosweep import ops
from isosweep.ops import backends
from isosweep.ops.cpu import backend as cpu
from isosweep.ops.cpu import threads as cpu_threads


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before = backends._active
    yield
    backends._active = before


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'numba'")

    monkeypatch.setattr(cpu_threads, "import_numba", missing)


def test_auto_takes_numba_on_the_cpu() -> None:
    assert ops.use("auto", "cpu") == ops.Choice("cpu", "the device is the CPU and numba is there")
    assert ops.active().name == "cpu"
    assert backends.kernels() is cpu


def test_auto_on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    monkeypatch.setenv("CC", "gcc")
    assert ops.choose("auto", "cuda:1") == ops.Choice("cuda", "the device is a CUDA card and Triton is there")
    monkeypatch.setitem(sys.modules, "triton", None)
    choice = ops.choose("auto", torch.device("cuda"))
    assert choice.name == "torch"
    assert "Triton, which cannot be imported" in choice.why
    assert ops.choose("auto", "mps").why == "no kernels for device 'mps': plain PyTorch on it"


def test_triton_without_a_compiler_for_its_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    assert "a C compiler" in ops.choose("auto", "cuda").why
    with pytest.raises(
        ImportError, match=r"neither gcc nor clang on PATH.*: install gcc, or use backend=torch"
    ):
        ops.choose("cuda", "cuda")


def test_missing_packages_of_a_named_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc")
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(
        ImportError, match=r"backend 'cuda' needs Triton.*pip install triton, or use backend=torch"
    ):
        ops.choose("cuda", "cuda")
    monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(
        ImportError, match=r"backend 'tcnn' needs tiny-cuda-nn.*docs/install.md says how to build"
    ):
        ops.choose("tcnn", "cuda")
    monkeypatch.setitem(sys.modules, "tinycudann", ModuleType("tinycudann"))
    assert ops.choose("tcnn", "cuda").why == "asked for: tiny-cuda-nn's encodings, Triton kernels"


@pytest.mark.usefixtures("no_numba")
def test_without_numba() -> None:
    choice = ops.use("auto", "cpu")
    assert choice.name == "torch"
    assert (
        choice.why == "numba cannot be imported (No module named 'numba'): plain PyTorch, many times slower"
    )
    with pytest.raises(
        ImportError, match=r"backend 'cpu' needs numba.*pip install 'numba>=0.61', or use backend=torch"
    ):
        ops.use("cpu", "cpu")


@pytest.mark.parametrize(
    ("backend", "device", "error", "text"),
    [
        (
            "cpu",
            "cuda",
            ValueError,
            r"backend 'cpu' \(numba kernels\) cannot run on device 'cuda': use backend=torch",
        ),
        (
            "cuda",
            "cpu",
            ValueError,
            r"backend 'cuda' \(Triton kernels\) cannot run on device 'cpu': use backend=torch",
        ),
        ("tcnn", "cpu", ValueError, r"backend 'tcnn' .* cannot run on device 'cpu': .* device=cuda"),
        ("numba", "cpu", ValueError, "backend must be one of auto, torch, cpu, cuda, tcnn, got 'numba'"),
    ],
)
def test_refusals(backend: str, device: str, error: type[Exception], text: str) -> None:
    ops.use("torch", "cpu")
    with pytest.raises(error, match=text):
        ops.use(backend, device)
    assert ops.active().name == "torch"


def test_every_function_goes_to_the_active_backend() -> None:
    spec = ops.GridSpec(2, 2, 6, 4, 2.0)
    u, table = torch.rand(9, 3), torch.rand(spec.total, 2)
    offsets, one = torch.tensor([0, 4, 9]), torch.ones(9)
    results = []
    for backend in ("torch", "cpu"):
        ops.use(backend, "cpu")
        y, jac = ops.grid_encode_jacobian(u, table, spec)
        w = ops.render_weights(u[:, 0], offsets)
        samples = ops.march(
            u, u, one * 0, one, torch.ones(2, 2, 2, dtype=torch.bool), 1.0, 0.1, one * 0.5, 99
        )
        results.append(
            (
                ops.grid_encode(u, table, spec),
                y,
                ops.pullback(jac, y),
                w,
                ops.accumulate(w, u, offsets),
                ops.visible(u[:, 0], offsets, 0.3),
                samples.t,
            )
        )
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)


def test_tensors_that_the_cpu_kernels_do_not_take() -> None:
    with pytest.raises(ValueError, match=r"a tensor lies on 'meta': select the backend for the device"):
        cpu.pullback(torch.zeros(1, 2, 3, device="meta"), torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"computes in float32 or float64, got torch.bfloat16"):
        cpu.pullback(torch.zeros(1, 2, 3, dtype=torch.bfloat16), torch.zeros(1, 2, dtype=torch.bfloat16))


def test_compiled_kernels_go_where_they_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only(folder: Path):
        return lambda path, private=False: path.is_relative_to(folder)

    package, home, temporary = tmp_path / "package", tmp_path / "home", tmp_path / "tmp"
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr(cpu_threads.tempfile, "gettempdir", lambda: str(temporary))
    monkeypatch.setattr(cpu_threads, "_writable", only(package))
    assert cpu_threads.cache_folder(package) is None
    monkeypatch.setattr(cpu_threads, "_writable", only(home))
    assert cpu_threads.cache_folder(package) == home / "isosweep" / "numba"
    monkeypatch.setattr(cpu_threads, "_writable", only(temporary))
    assert cpu_threads.cache_folder(package) == temporary / f"isosweep-numba-{os.getuid()}"
    monkeypatch.setattr(cpu_threads, "_writable", lambda path, private=False: False)
    with pytest.raises(
        OSError, match=r"no folder for compiled CPU kernels.*set NUMBA_CACHE_DIR to one that can"
    ):
        cpu_threads.cache_folder(package)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/somewhere")
    assert cpu_threads.cache_folder(package) is None


def test_a_cache_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_threads._writable(tmp_path / "mine", private=True)
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert not cpu_threads._writable(tmp_path / "mine", private=True)
    assert cpu_threads._writable(tmp_path / "mine")


OTHERS = (
    "grid_encode_jacobian", "render_weights", "accumulate", "pullback", "surface_network", "mlp", "softplus_backward",
    "visible", "march",
)  # fmt: skip
"""What `isosweep.ops.cpu.backend` has beside ``grid_encode``."""


def test_first_use_says_that_it_compiles_also_in_two_processes_at_once(tmp_path: Path) -> None:
    """Jobs of a sweep start together on an empty cache: both say so and run, and what they leave is whole.

    Two kernels are compiled, the rest is the reference's: all of them take a minute of two cores.
    """
    code = (
        "import logging, torch; logging.basicConfig(level=logging.INFO, format='%(message)s');"
        "torch.set_num_threads(1);"
        "from isosweep import ops; from isosweep.ops import reference; from isosweep.ops.cpu import backend, grid;"
        f"[setattr(backend, name, getattr(reference, name, lambda *_: None)) for name in {OTHERS}];"
        "ops.use('cpu', 'cpu'); ops.use('cpu', 'cpu'); print(sum(grid.encode.stats.cache_misses.values()))"
    )

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return out.strip(), [line.split(" in ")[0] for line in err.splitlines()]

    for _, said in [end(process) for process in (start(), start())]:
        assert said == ["compiling CPU kernels (first use, about 25 s)", "CPU kernels ready"]
    assert end(start()) == ("0", ["CPU kernels ready"])


def test_a_forked_child_has_threads_of_its_own() -> None:
    """Data loaders fork; the parent's threads are not there any more."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        n = 3 * cpu.GRAIN
        jac, g = torch.ones(n, 2, 3), torch.ones(n, 2)
        assert cpu.pullback(jac, g).sum() == 6 * n
        child = os.fork()
        if child == 0:
            os._exit(0 if cpu.pullback(jac, g)[-1, 2] == 2 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        torch.set_num_threads(before)


def test_kernels_are_not_imported_by_the_interface() -> None:
    code = "import sys, isosweep.ops; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_warm_up_is_quiet_the_second_time(caplog: pytest.LogCaptureFixture) -> None:
    cpu.warm_up()
    with caplog.at_level(logging.INFO, logger="isosweep"):
        cpu.warm_up()
    assert not caplog.records
