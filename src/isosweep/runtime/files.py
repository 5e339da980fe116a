"""Files that are whole or absent: each is written beside its place and then renamed."""

import contextlib
import errno
import os
import re
import secrets
from pathlib import Path

from isosweep.runtime.text import as_text

DISK_HINT = (
    "free space or raise the quota, then start the same command again: it goes on from the last checkpoint"
)
BINARY: int = getattr(os, "O_BINARY", 0)
"""For ``os.open``: without it Windows writes a line end as two bytes."""
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: a reader, a crash or a full disk sees the old file or the new one."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink()
        raise storage_error(error, path) from error


def atomic_write_text(path: Path, text: str) -> None:
    atomic_write_bytes(path, as_text(text).encode())


def safe_file_name(name: str, *, empty: str = "_") -> str:
    """The name with only letters, digits and ``._+=-``, which any file system takes; ``empty`` if nothing is left."""
    return re.sub(r"[^A-Za-z0-9._+=-]+", "_", name).lstrip(".-")[:120] or empty


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut, where the file system can."""
    if os.name == "nt":
        return  # Windows opens no folder, and has nothing to ask for
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(fd)


def storage_error(error: OSError, path: Path) -> OSError:
    """The same error (class and errno kept) with the path and what to do about it."""
    what = f"cannot write {path}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        advice = DISK_HINT
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "give this user write permission there, or choose another folder with run.root="
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        advice = "part of the path is a file, not a folder: choose another folder with run.root="
    else:
        advice = "check the disk, or choose another folder with run.root="
    return OSError(error.errno, f"{what}; {advice}")


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``, which ``os.write`` need not do at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
