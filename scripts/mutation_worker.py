"""A process with the libraries loaded, which forks a pytest for every request; scripts/mutation.py starts it.

Importing torch and its like takes longer than the tests of most packages. The fork is sound because this process never
computes: it imports nothing of the project, and it refuses to serve where an import has started a thread.

A request is a line of JSON on stdin: {"arguments": [...], "timeout": seconds, "trace": bool}. The answer is a line on
stdout: {"code": pytest's exit code, -signal, or null for a timeout, "seconds": ..., "tail": the end of the output,
"called": {source file: first lines of its functions that were called} where it was traced}.
"""

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import resource
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_LIBRARIES = (
    "pytest pytest_timeout xdist.plugin torch torch._dynamo torch.nn.utils.parametrizations numpy scipy.spatial "
    "scipy.special scipy.sparse.csgraph scipy.ndimage scipy.linalg jaxtyping beartype numba msgspec trimesh "
    "embreex trimesh.ray.ray_pyembree torchmetrics.functional.image torchmetrics.image skimage.measure PIL.Image "
    "omegaconf matplotlib.figure"
)
LIBRARIES = _LIBRARIES.split()
MEMORY = 24 << 30
"""Bytes of address space that a mutant may take: a size that grew without bound must not take the machine down."""

running: int | None = None


def stop(*_: object) -> None:
    """End the tests that run, and everything that they started."""
    if running is not None:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(running, signal.SIGKILL)


def note_calls() -> Callable[[Path], None]:
    """From now on note which functions of this process are called; the result writes them to a file."""
    seen: dict[int, CodeType] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and id(frame.f_code) not in seen:
            seen[id(frame.f_code)] = frame.f_code

    def write(path: Path) -> None:
        sys.setprofile(None)
        source, called = Path.cwd() / "src", defaultdict[str, list[int]](list)
        for code in list(seen.values()):
            place = Path(code.co_filename)
            if source in place.parents:
                called[str(place.relative_to(source.parent))].append(code.co_firstlineno)
        path.write_text(json.dumps({name: sorted(set(lines)) for name, lines in called.items()}))

    threading.setprofile(note)
    sys.setprofile(note)
    return write


def run(arguments: list[str], timeout: float, trace: bool, log: Path) -> dict[str, Any]:
    global running
    notes = log.with_suffix(".calls.json")
    notes.unlink(missing_ok=True)
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        code = 3
        try:
            import pytest

            write = note_calls() if trace else None
            code = int(pytest.main(arguments))
            if write is not None:
                write(notes)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    running = pid
    code: int | None = None
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        if time.monotonic() - began > timeout:
            break
        time.sleep(0.01)
    stop()
    if code is None:
        os.waitpid(pid, 0)
    running = None
    tail = log.read_text(errors="replace")[-3000:]
    called = json.loads(notes.read_text()) if notes.is_file() else {}
    return {"code": code, "seconds": time.monotonic() - began, "tail": tail, "called": called}


def main() -> int:
    tree, log = Path.cwd(), Path(sys.argv[1])
    for name in LIBRARIES:
        importlib.import_module(name)
    loaded = [name for name in sys.modules if name.split(".")[0] in ("isosweep", "tests")]
    spec = importlib.util.find_spec("isosweep")
    found = None if spec is None or spec.origin is None else Path(spec.origin)
    if loaded or found is None or tree not in found.parents:
        raise RuntimeError(
            f"the tests are to see {tree}/src alone, found isosweep at {found}, loaded: {loaded}"
        )
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        raise RuntimeError(f"{len(threads)} threads after importing {LIBRARIES}: a fork would not be sound")
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGTERM, lambda *_: (stop(), os._exit(1)))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(run(**asked, log=log)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
