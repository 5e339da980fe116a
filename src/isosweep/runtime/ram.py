"""The memory of this machine, what of it this process may still take, and whom the kernel has killed for it."""

import ctypes
import os
import sys
from pathlib import Path

from isosweep.runtime.cores import CGROUPS

MEMINFO = Path("/proc/meminfo")
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_USED = ("memory.current", "memory/memory.usage_in_bytes")
_STATS = ("memory.stat", "memory/memory.stat")
"""Of control groups of version 2, and of version 1."""
_CACHE = ("inactive_file", "active_file", "total_inactive_file", "total_active_file")


def available(info: Path = MEMINFO, groups: Path = CGROUPS) -> int | None:
    """Bytes that the system calls available, but no more than the container or job leaves; None where none tells."""
    found = [free for free in (system(info)[1], _left(groups)) if free is not None]
    return min(found, default=None)


def system(info: Path = MEMINFO) -> tuple[int | None, int | None]:
    """Bytes of memory, and those free, as far as the system tells: Linux, Windows, other Unix."""
    if info.is_file():
        found = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        sizes = {
            name: int(found[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable") if name in found
        }
        return sizes.get("MemTotal"), sizes.get("MemAvailable")
    if sys.platform == "win32":
        return _windows_memory()
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None
    except (ValueError, OSError):
        return None, None


def limit(groups: Path = CGROUPS) -> int | None:
    """The memory limit of this control group, version 2 or 1; None without one."""
    return next((n for name in _LIMITS if (n := _number(groups / name)) is not None), None)


def out_of_memory_kills(groups: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """How many processes of this control group the kernel has killed for memory; 0 where the kernel does not count.

    Args:
        groups: folder of all control groups.
        own: the file that names this process's.
    """
    named = _read_text(own).splitlines()
    unified = next((line.partition("::")[2] for line in named if line.startswith("0::")), "/").lstrip("/")
    older = next((line.split(":", 2)[2] for line in named if ":memory:" in line), "/").lstrip("/")
    for file in (
        groups / unified / "memory.events",
        groups / "memory.events",
        groups / "memory" / older / "memory.oom_control",
    ):
        for line in _read_text(file).splitlines():
            word, _, count = line.partition(" ")
            if word == "oom_kill" and count.strip().isdecimal():
                return int(count)
    return 0


def _left(groups: Path) -> int | None:
    """What the control group's limit leaves. Files in its cache are no use of memory: the kernel drops them first."""
    most = limit(groups)
    used = next((n for name in _USED if (n := _number(groups / name)) is not None), None)
    if most is None or used is None:
        return None
    return max(0, most - max(0, used - _cached(groups)))


def _cached(groups: Path) -> int:
    """Bytes of files in the group's cache. Version 1 tells its own share, and with ``total_`` that of groups below."""
    for name in _STATS:
        if (groups / name).is_file():
            lines = [line.split() for line in (groups / name).read_text().splitlines()]
            sizes = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[0] in _CACHE}
            total = {key: size for key, size in sizes.items() if key.startswith("total_")}
            return sum((total or sizes).values())
    return 0


def _number(file: Path) -> int | None:
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdecimal() else None


def _windows_memory() -> tuple[int | None, int | None]:
    """GlobalMemoryStatusEx: its structure has two numbers of 32 bits, then seven of 64."""
    fields = [("length", ctypes.c_uint32), ("load", ctypes.c_uint32)]
    fields += [(f"n{i}", ctypes.c_uint64) for i in range(7)]
    status = type("Status", (ctypes.Structure,), {"_fields_": fields})()
    status.length = ctypes.sizeof(status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # pyright: ignore[reportAttributeAccessIssue]
        return None, None
    return status.n0, status.n1


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
