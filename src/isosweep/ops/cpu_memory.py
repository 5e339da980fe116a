"""Memory that a step frees stays with the process, so that the next step need not ask the kernel again."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to serve large blocks from memory it keeps; whether it agreed.

    By default it maps every block above 32 MiB anew and gives it back when freed, so a step on tables
    of 2^19 rows spends half of its time and more in page faults on its own gradient. The price: the
    process keeps the most that it ever used (measured: 3 % more at the peak). Left alone where the
    user has tuned malloc (MALLOC_*, GLIBC_TUNABLES), and on systems without glibc.
    """
    if sys.platform != "linux":
        return False
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
