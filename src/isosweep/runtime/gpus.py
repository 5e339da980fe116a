"""The GPUs of this machine, found without importing torch."""

import os
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def visible_gpus() -> tuple[str, ...]:
    """Indices (or UUIDs) of the CUDA devices that a process started here would see."""
    if not _torch_has_cuda():
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = _driver_gpus()
    if visible is None:
        return found
    names = tuple(name.strip() for name in visible.split(",") if name.strip())
    return names if found else ()


def _torch_has_cuda() -> bool:
    try:
        return "+cpu" not in version("torch")
    except PackageNotFoundError:
        return False


def _driver_gpus() -> tuple[str, ...]:
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()  # no driver, or one that does not answer: torch could not use it either
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
