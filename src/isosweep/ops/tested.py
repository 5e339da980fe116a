"""Selects a backend on a graphics card after its kernels have been compared with the reference there.

The comparison takes seconds to a minute, most of it for compiling. It is made once for a card, a driver and this code,
and remembered in a file.
"""

import ctypes
import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from isosweep.errors import InputError
from isosweep.ops.backends import Choice, use

log = logging.getLogger("isosweep")
LIMIT_S = 60.0
"""How long the comparison may take."""
FILE = "self_test.json"
Test = Callable[[str, torch.device], list[str] | None]
"""(backend, device) -> what is wrong, or None if the comparison did not end in time."""


def use_tested(
    choice: Choice, device: torch.device, folder: Path, asked: bool, test: Test | None = None
) -> Choice:
    """Select a backend; on a card only if its kernels are right there, otherwise plain PyTorch.

    Args:
        choice: the backend.
        folder: where verdicts are remembered.
        asked: whether the user has named the backend. Then a wrong kernel is an error, because nobody who asks for
            one backend wants another.
        test: makes the comparison; None makes it in a process of its own.

    Returns: the backend that is in use, and why.

    Raises:
        InputError: a kernel is wrong, and the backend was asked for.
    """
    if device.type != "cuda" or choice.name == "torch":
        return use(choice.name, device)
    wrong = _verdict(choice.name, device, folder / FILE, test or _in_a_process)
    if not wrong:
        use(choice.name, device)
        return choice
    what = f"kernels of backend '{choice.name}' are wrong on {torch.cuda.get_device_name(device)}: {'; '.join(wrong)}"
    again = f"delete {folder / FILE} to test again"
    if asked:
        raise InputError(f"{what}. Use backend=auto or backend=torch, or {again}")
    log.warning("%s. This run uses plain PyTorch, which is many times slower (%s)", what, again)
    use("torch", device)
    return Choice("torch", f"the self-test failed: {wrong[0]}")


def _verdict(backend: str, device: torch.device, place: Path, test: Test) -> list[str]:
    """What is wrong with a backend's kernels, remembered or found out now."""
    stamp = _stamp(backend, device)
    known = _read(place)
    if stamp in known:
        return known[stamp]
    log.info("comparing the kernels of backend '%s' with the reference on this card, once", backend)
    wrong = test(backend, device)
    if wrong is None:
        log.warning(
            "the comparison did not end within %.0f s: the kernels of this card are not verified", LIMIT_S
        )
        return []
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_suffix(".new")
    fresh.write_text(json.dumps({**_read(place), stamp: wrong}, indent=1))
    fresh.replace(place)
    return wrong


def _read(place: Path) -> dict[str, list[str]]:
    """The verdicts in the file; none if it is absent or damaged, which costs another comparison."""
    try:
        found = json.loads(place.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _in_a_process(backend: str, device: torch.device) -> list[str] | None:
    command = [sys.executable, "-m", "isosweep.ops.self_test", backend, str(device)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    return [f"the self-test ended with exit code {done.returncode}: {last}"]


def _stamp(backend: str, device: torch.device) -> str:
    """What a verdict depends on: the card, the driver, torch, Triton, and the code of the kernels."""
    properties = torch.cuda.get_device_properties(device)
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        code.update(path.read_bytes())
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "none"
    parts = (
        backend,
        properties.name,
        f"{properties.major}.{properties.minor}",
        _driver(),
        torch.__version__,
        triton,
    )
    return " | ".join([*map(str, parts), code.hexdigest()[:16]])


def _driver() -> int:
    """The version of the CUDA driver; 0 if it does not say."""
    number = ctypes.c_int(0)
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except OSError:
        return 0
    return number.value
