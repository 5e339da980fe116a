"""Threads for the CPU kernels, and numba's import.

Kernels are compiled without the GIL and take (part, parts, ...): each part is a fixed share of the
work that no other part writes to. That needs none of numba's threading layers, of which one must not
be entered by two threads and another not after a fork; and the result has the same bits at any
number of threads.
"""

import inspect
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def import_numba() -> ModuleType:
    """numba, with a folder for compiled kernels that can be written to."""
    folder = cache_folder(Path(__file__).parent)
    if folder is not None:
        os.environ["NUMBA_CACHE_DIR"] = str(folder)
    import numba

    if folder is not None:
        from numba.core.config import reload_config

        reload_config()  # where numba was imported before, it had read its environment
    return numba


def compiled(*fastmath: str) -> Callable[[Callable], Any]:
    """Decorator of kernels: compiled when first called, without the GIL, cached on disk.

    ``fastmath`` names the liberties that the compiler may take; none of them by default.
    """

    def decorate(kernel: Callable) -> Any:
        # A run-time type checker that wraps every function of a package must not reach the compiler.
        function = inspect.unwrap(kernel)
        # False must be given: without it, numba applies the fastmath flags of the kernel that calls this one first.
        flags = set(fastmath) or False
        return import_numba().njit(nogil=True, cache=True, error_model="numpy", fastmath=flags)(function)

    return decorate


def cache_folder(package: Path) -> Path | None:
    """Where compiled kernels go, or None where numba's own choice (beside the source) will do.

    The user's NUMBA_CACHE_DIR wins; a package that cannot be written to (a system-wide or a
    container's read-only installation) sends them to the user's cache folder, or to a temporary one.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    if _writable(package / "__pycache__"):
        return None
    user = "" if sys.platform == "win32" else f"-{os.getuid()}"
    for folder in (home / "isosweep" / "numba", Path(tempfile.gettempdir()) / f"isosweep-numba{user}"):
        if _writable(folder, private=True):
            return folder
    raise OSError(
        f"no folder for compiled CPU kernels: {package}, {home} and {tempfile.gettempdir()} cannot be "
        "written to; set NUMBA_CACHE_DIR to one that can, or use backend=torch"
    )


def _writable(folder: Path, private: bool = False) -> bool:
    try:
        folder.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
        if private and sys.platform != "win32" and folder.stat().st_uid != os.getuid():
            return False  # compiled code is loaded from here: never from a folder that somebody else made
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def run(kernel: Callable[..., None], work: int, grain: int, *args: object, shares: int = 4) -> None:
    """Call kernel(part, parts, *args) for every part, on torch's number of threads.

    ``work`` is the number of pieces that can be dealt out, ``grain`` the fewest worth a thread. There are up
    to ``shares`` parts a thread, taken one after the other as threads become free: a core that others use
    as well holds nobody up.
    """
    global _pool, _pool_size
    most = max(1, work // grain)
    threads = min(torch.get_num_threads(), most)
    if threads == 1:
        kernel(0, 1, *args)
        return
    parts = min(shares * threads, most)
    if _pool is None or _pool_size < threads - 1:
        _pool, _pool_size = ThreadPoolExecutor(threads - 1, thread_name_prefix="isosweep-ops"), threads - 1
    left = iter(range(parts))  # its next() is one step for all threads

    def take() -> None:
        for part in left:
            kernel(part, parts, *args)

    waiting = [_pool.submit(take) for _ in range(threads - 1)]
    take()
    for other in waiting:
        other.result()


def _forget_pool() -> None:
    """A forked child has none of its parent's threads."""
    global _pool, _pool_size
    _pool, _pool_size = None, 0


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_pool)
