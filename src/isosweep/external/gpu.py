"""How much memory of the GPUs a group of processes holds, as nvidia-smi tells it."""

import os
import subprocess
import time

EVERY_S = 5.0
COMMAND = ("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")


class GpuMemory:
    """Keeps the peak; ``look`` may be called often and asks every few seconds.

    Processes in a container have other numbers than here, and are not seen.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._looked = 0.0

    def look(self, group: int) -> None:
        """Ask for the memory of the processes of a group."""
        now = time.monotonic()
        if now - self._looked < EVERY_S:
            return
        self._looked = now
        try:
            told = subprocess.run(COMMAND, capture_output=True, text=True, check=True, timeout=EVERY_S).stdout
        except (OSError, subprocess.SubprocessError):
            self._looked = float("inf")  # no such program here: it is not asked again
            return
        self.peak_bytes = max(self.peak_bytes, held_by(group, told))


def held_by(group: int, told: str) -> int:
    """Bytes that the processes of a group hold, from lines 'pid, MiB'."""
    held = 0
    for line in told.splitlines():
        pid, _, mib = line.partition(",")
        if pid.strip().isdecimal() and mib.strip().isdecimal() and _group(int(pid)) == group:
            held += int(mib) * 2**20
    return held


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except (OSError, AttributeError):
        return -1
