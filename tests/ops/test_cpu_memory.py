"""Large blocks are reused instead of mapped anew: counted in page faults, not in time."""

import os
import subprocess
import sys

import pytest

from isosweep.ops.cpu import memory as cpu_memory

CODE = """
import resource, sys, torch
from isosweep.ops.cpu.memory import keep_freed_memory
if sys.argv[1] == "keep":
    print(keep_freed_memory())
for _ in range(10):  # the heap grows, and freed neighbours join, until a block of this size fits
    torch.zeros(1 << 24)  # 64 MiB, the gradient of 16 levels of 2^19 rows
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.zeros(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(mode: str, **environment: str) -> list[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    command = [sys.executable, "-c", CODE, mode]
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(cpu_memory.ctypes.CDLL(None), "mallopt"),
    reason="malloc cannot be tuned: this system has no glibc",
)
def test_blocks_are_mapped_once() -> None:
    agreed, kept = run("keep")
    assert agreed == "True"
    (mapped,) = run("leave")
    # 65,536 pages; with transparent huge pages 128 of them, which is still not none
    assert int(mapped) > 100
    assert int(kept) < int(mapped) / 10


def test_the_users_own_tuning_is_left_alone() -> None:
    assert run("keep", MALLOC_ARENA_MAX="2")[0] == "False"
    assert run("keep", GLIBC_TUNABLES="glibc.malloc.check=0")[0] == "False"


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_memory.sys, "platform", "darwin")
    monkeypatch.setattr(cpu_memory.ctypes, "CDLL", lambda name: pytest.fail("looked for a libc"))
    assert not cpu_memory.keep_freed_memory()
