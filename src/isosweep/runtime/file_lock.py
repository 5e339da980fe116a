"""A lock on a file that the system releases when its holder ends, however it ends. For one machine."""

import sys
from typing import IO


def try_lock(file: IO[str]) -> bool:
    """Lock an open file until it is closed; False if another process holds it."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # the first byte, which need not exist
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
