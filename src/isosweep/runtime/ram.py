"""The memory that this process may still take."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_LIMIT, _USED = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))


def available(meminfo: Path = _MEMINFO, limit: Path = _LIMIT, used: Path = _USED) -> int | None:
    """Bytes that the system calls available, but no more than the container or job leaves; None where none tells."""
    found = [free for free in (_of_system(meminfo), _of_group(limit, used)) if free is not None]
    return min(found, default=None)


def _of_system(meminfo: Path) -> int | None:
    if not meminfo.is_file():
        return None
    for line in meminfo.read_text().splitlines():
        words = line.split()
        if words[:1] == ["MemAvailable:"] and words[1].isdecimal():
            return 1024 * int(words[1])
    return None


def _of_group(limit: Path, used: Path) -> int | None:
    if not limit.is_file() or not used.is_file():
        return None
    most, now = limit.read_text().strip(), used.read_text().strip()
    return max(0, int(most) - int(now)) if most.isdecimal() and now.isdecimal() else None
