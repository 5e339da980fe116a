"""Keep the memory that a training step frees, so that the next step need not request it from the system again."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_KEPT = 96 << 20
"""Bytes: above the 64 MiB of a gradient of 16 levels of 2^19 rows, below the layers of LPIPS, which are
large and few and would leave holes."""


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to serve blocks up to `LARGEST_KEPT` from memory it keeps; whether it agreed.

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
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
