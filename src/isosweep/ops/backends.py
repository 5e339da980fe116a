"""Which implementation of the kernels is in use, and why. A backend that cannot run is an error, never replaced."""

import os
import shutil
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import torch

from isosweep.errors import InputError, MissingLibraryError

NAMES = ("auto", "torch", "cpu", "cuda", "tcnn")


@dataclass(frozen=True)
class Choice:
    """A backend and the reason it was chosen, for the log and the run's record."""

    name: str
    why: str


_DEFAULT = Choice("torch", "nothing was chosen yet: the plain PyTorch reference")
MODULES = {
    "torch": "isosweep.ops.reference",
    "cpu": "isosweep.ops.cpu.backend",
    "cuda": "isosweep.ops.triton.backend",
    "tcnn": "isosweep.ops.tcnn",
}
"""Backend -> the module with its kernels, imported where it is chosen."""
BATCH_MODULES = {
    "torch": "isosweep.ops.batch",
    "cpu": "isosweep.ops.batch",
    "cuda": "isosweep.ops.triton.batch_backend",
    "tcnn": "isosweep.ops.tcnn_batch",
}
"""Backend -> the module with the functions that make a batch."""
_active: tuple[Choice, str] = (_DEFAULT, MODULES["torch"])


def choose(backend: str, device: torch.device | str) -> Choice:
    """Resolve a backend name for a device, without selecting it.

    'auto' takes the fastest that can run and says why; any other name is taken or refused.
    Errors: ValueError for a name that is unknown or cannot run on the device; ImportError where what it
    needs is missing, with what to install.
    """
    kind = torch.device(device).type
    if backend not in NAMES:
        raise InputError(f"backend must be one of {', '.join(NAMES)}, got '{backend}'")
    if backend == "torch":
        return Choice("torch", "asked for: plain PyTorch, the reference")
    if backend == "auto":
        return _best(kind)
    home, what = {
        "cpu": ("cpu", "numba kernels"),
        "cuda": ("cuda", "Triton kernels"),
        "tcnn": ("cuda", "tiny-cuda-nn's encodings, Triton kernels"),
    }[backend]
    if kind != home:
        raise InputError(
            f"backend '{backend}' ({what}) cannot run on device '{kind}': "
            f"use backend=torch there, or device={home}"
        )
    if backend == "cpu" and (missing := _numba_missing()):
        raise MissingLibraryError(
            f"backend 'cpu' needs numba, which cannot be imported ({missing}): "
            "pip install 'numba>=0.61', or use backend=torch"
        )
    if backend != "cpu" and (missing := _triton_missing()):
        raise MissingLibraryError(
            f"backend '{backend}' needs {missing}, or use backend=torch (docs/install.md)"
        )
    if backend == "tcnn" and (missing := _tcnn_missing()):
        raise MissingLibraryError(
            f"backend 'tcnn' needs tiny-cuda-nn's PyTorch bindings, which cannot be imported ({missing}): "
            "docs/install.md says how to build them, or use backend=cuda (the same table, no build)"
        )
    return Choice(backend, f"asked for: {what}")


def _best(kind: str) -> Choice:
    """The fastest backend that can run on a kind of device, and why it is that one."""
    if kind == "cpu":
        if missing := _numba_missing():
            return Choice("torch", f"numba cannot be imported ({missing}): plain PyTorch, many times slower")
        return Choice("cpu", "the device is the CPU and numba is there")
    if kind == "cuda":
        if missing := _triton_missing():
            return Choice("torch", f"Triton kernels need {missing}: plain PyTorch on the card, slower")
        return Choice("cuda", "the device is a CUDA card and Triton is there")
    return Choice("torch", f"no kernels for device '{kind}': plain PyTorch on it")


def use(backend: str, device: torch.device | str) -> Choice:
    """Select the backend of every function of ``isosweep.ops``, for the whole process.

    Compiles its kernels, or loads them from the cache on disk that the first time has filled.
    """
    global _active
    choice = choose(backend, device)
    if choice.name != "torch":
        import_module(MODULES[choice.name]).warm_up()
    _active = (choice, MODULES[choice.name])
    return choice


def active() -> Choice:
    """The backend in use."""
    return _active[0]


def on_card() -> bool:
    """Whether the kernels in use run on a card: the host then waits for every value that it reads."""
    return _active[0].name in ("cuda", "tcnn")


def kernels() -> ModuleType:
    """The module that implements the active backend."""
    return import_module(_active[1])


def batch_kernels() -> ModuleType:
    """The module of the active backend that makes a batch."""
    return import_module(BATCH_MODULES[_active[0].name])


def _numba_missing() -> str | None:
    """Why numba cannot be imported, or None."""
    try:
        import_module("isosweep.ops.cpu.threads").import_numba()
    except ImportError as error:
        return str(error)
    return None


def _triton_missing() -> str | None:
    """What Triton kernels lack here, and what to do about it, or None."""
    try:
        import_module("triton")
    except ImportError as error:
        return (
            f"Triton, which cannot be imported ({error}): it comes with PyTorch's CUDA builds for Linux; "
            "pip install triton"
        )
    if os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"):
        return None
    return "a C compiler, with which Triton builds its launcher (neither gcc nor clang on PATH): install gcc"


def _tcnn_missing() -> str | None:
    """Why tiny-cuda-nn's bindings cannot be imported, or None. Without a card they raise an OSError."""
    try:
        import_module("tinycudann")
    except (ImportError, OSError) as error:
        return str(error)
    return None
