"""Which implementation of the kernels is in use, and why. Nothing falls back in silence."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import torch

NAMES = ("auto", "torch", "cpu", "cuda", "tcnn")
UNBUILT = {
    "cuda": "Triton kernels: use backend=torch with device=cuda (plain PyTorch on the GPU), or backend=auto",
    "tcnn": "adapter for tiny-cuda-nn, installed or not: use backend=torch (the same table layout), or "
    "backend=auto",
}


@dataclass(frozen=True)
class Choice:
    """A backend and the reason it was chosen, for the log and the run's record."""

    name: str
    why: str


_DEFAULT = Choice("torch", "nothing was chosen yet: the plain PyTorch reference")
_active: tuple[Choice, str] = (_DEFAULT, "isosweep.ops.reference")


def choose(backend: str, device: torch.device | str) -> Choice:
    """Resolve a backend name for a device, without selecting it.

    'auto' takes the fastest that can run and says why; any other name is taken or refused.
    Errors: ValueError for a name that is unknown, not in this version, or cannot run on the device;
    ImportError where its package is missing.
    """
    kind = torch.device(device).type
    if backend not in NAMES:
        raise ValueError(f"backend must be one of {', '.join(NAMES)}, got '{backend}'")
    if backend == "torch":
        return Choice("torch", "asked for: plain PyTorch, the reference")
    if backend == "cpu":
        if kind != "cpu":
            raise ValueError(
                f"backend 'cpu' (numba kernels) cannot run on device '{kind}': "
                "use backend=torch there, or device=cpu"
            )
        if missing := _numba_missing():
            raise ImportError(
                f"backend 'cpu' needs numba, which cannot be imported ({missing}): "
                "pip install 'numba>=0.61', or use backend=torch"
            )
        return Choice("cpu", "asked for: numba kernels")
    if backend in UNBUILT:
        raise ValueError(f"backend '{backend}' was asked for, but this version has no {UNBUILT[backend]}")
    if kind == "cpu":
        if missing := _numba_missing():
            return Choice("torch", f"numba cannot be imported ({missing}): plain PyTorch, many times slower")
        return Choice("cpu", "the device is the CPU and numba is there")
    return Choice("torch", f"no kernels for device '{kind}' in this version: plain PyTorch on it")


def use(backend: str, device: torch.device | str) -> Choice:
    """Select the backend of every function of ``isosweep.ops``, for the whole process.

    Compiles the CPU kernels where they are chosen (cached on disk after the first time).
    """
    global _active
    choice = choose(backend, device)
    if choice.name == "cpu":
        from isosweep.ops import cpu

        cpu.warm_up()
    _active = (choice, f"isosweep.ops.{'reference' if choice.name == 'torch' else choice.name}")
    return choice


def active() -> Choice:
    """The backend in use."""
    return _active[0]


def kernels() -> ModuleType:
    """The module that implements the active backend."""
    return import_module(_active[1])


def _numba_missing() -> str | None:
    """Why numba cannot be imported, or None."""
    try:
        import_module("isosweep.ops.cpu_threads").import_numba()
    except ImportError as error:
        return str(error)
    return None
