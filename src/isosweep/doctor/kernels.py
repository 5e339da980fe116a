"""What the page tells of the kernels: right or wrong, and how fast beside plain PyTorch.

They are tested in a process of its own (tested.py): a kernel that reads memory which is not its own ends the process
that called it.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from isosweep.doctor.page import Finding

COMPILE_S = 300.0
"""How long the kernels may take to compile: once 20 s on two idle cores, minutes on a busy machine."""


@dataclass(frozen=True)
class Tested:
    """What the self-test found."""

    backend: str
    why: str
    device: str
    compile_s: float
    outputs: int
    """How many outputs and gradients were compared with the float64 reference."""
    largest_error: float
    wrong: list[str]
    times: list[tuple[str, str, float, float]]
    """What was timed, its size, and the milliseconds of the kernels and of plain PyTorch."""


def findings(seconds: float) -> Iterator[Finding]:
    """Run the self-test, and tell what it found."""
    command = [sys.executable, "-m", "isosweep.doctor.tested", str(seconds)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMPILE_S + seconds, check=False
        )
    except subprocess.TimeoutExpired:
        text = f"the self-test did not end within {COMPILE_S + seconds:.0f} s"
        yield Finding("kernels", "BROKEN", text, "look for what keeps the machine busy, and start this again")
        return
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not found:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        text = f"the self-test ended with exit code {done.returncode}: {last}"
        yield Finding(
            "kernels", "BROKEN", text, "put right what is broken above; else runs need backend=torch"
        )
        return
    yield from told(Tested(**json.loads(found[-1])))


def told(found: Tested) -> Iterator[Finding]:
    name = f"backend {found.backend}"
    if found.wrong:
        todo = "use backend=torch, and report these lines with the page"
        yield Finding(name, "BROKEN", f"wrong results on this {found.device}: {'; '.join(found.wrong)}", todo)
    elif found.backend == "torch":
        todo = "put right numba or Triton above"
        yield Finding(name, "BROKEN", f"{found.why}", todo)
    else:
        text = f"{found.outputs} outputs and gradients agree with the reference to {found.largest_error:.0e}"
        yield Finding(name, "ok", f"{text}; ready after {found.compile_s:.0f} s")
    for what, size, ours, plain in found.times:
        text = f"{what}, {size}: {ours:.3g} ms, plain PyTorch {plain:.3g} ms ({plain / ours:.1f} times)"
        slow = ours > plain and found.backend != "torch"
        yield Finding("speed", "look" if slow else "ok", text, "is the machine busy?" if slow else "")
