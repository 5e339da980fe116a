"""What tells one process of this machine from another that got the same pid later, or in another container."""

import os
from pathlib import Path


def boot_id() -> str:
    """Of this machine since its last start; '' where the system does not say."""
    return _read_text("/proc/sys/kernel/random/boot_id")


def pid_namespace() -> str:
    """The namespace that pids of this process belong to; containers have their own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def start_time(pid: int) -> str:
    """Start of a process in clock ticks since boot; '' where there is none, or a zombie."""
    fields = _read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
