"""Members of an archive become files, each whole or absent, and a cut download goes on where it was.

The bytes of a member are kept in ``parts/`` until it is whole. Then it is unpacked, its size and CRC are compared with
those of the archive's directory, and it is moved to its place. So a file in its place is right.
"""

import errno
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isosweep.download.archive import Bytes, Member
from isosweep.download.server import DownloadError

GAP = 1 << 18
"""Unwanted bytes between two members that are read along rather than asked around."""
COPY = 1 << 20
HEADER = 30
"""Bytes of a local header before name and extra field."""


def missing(members: Sequence[Member], folder: Path) -> list[Member]:
    """Those of the members that are not in their place."""
    return [m for m in members if not is_whole(folder / m.path, m.size)]


def is_whole(path: Path, size: int) -> bool:
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False


def bytes_left(members: Sequence[Member], parts: Path) -> int:
    """Bytes that are still to come for these members."""
    return sum(m.end - m.start - _kept(m, parts) for m in members)


def check_space(members: Sequence[Member], parts: Path) -> None:
    """Refuse a download that cannot fit on the disk.

    Raises:
        DownloadError: there is too little free space.
    """
    largest = max((m.end - m.start for m in members), default=0)
    kept = sum(_kept(m, parts) for m in members)
    needed = sum(m.size for m in members) + max(0, largest - kept)
    free = shutil.disk_usage(parts).free
    if needed > free:
        raise DownloadError(
            f"{parts.parent.parent} has {human(free)} free, and the scene needs {human(needed)}: free space there, or"
            " take another folder with --root"
        )


def fetch(
    source: Bytes, members: Sequence[Member], folder: Path, parts: Path, tell: Callable[[int], None]
) -> None:
    """Bring the members that are missing into ``folder``.

    Args:
        parts: the folder of what has come so far; on the same file system.
        tell: called with the number of bytes that have come.

    Raises:
        DownloadError: the server, the bytes or the disk fail. What is whole stays.
    """
    with full_disk_told(folder):
        for again in (False, True):
            damaged = []
            for group in _groups(missing(members, folder), parts):
                damaged += _fetch_group(source, group, folder, parts, tell)
            if not damaged:
                return
            if again:
                raise DownloadError(
                    f"{source.label}: {damaged[0]}, twice: the archive is damaged there, or a proxy changes its bytes."
                    " What is whole was kept"
                )


def _groups(members: Sequence[Member], parts: Path) -> Iterator[list[Member]]:
    """Members that one request brings: they lie side by side."""
    group: list[Member] = []
    for member in sorted(members, key=lambda m: m.start):
        if group and member.start + _kept(member, parts) - group[-1].end > GAP:
            yield group
            group = []
        group.append(member)
    if group:
        yield group


def _fetch_group(
    source: Bytes, group: Sequence[Member], folder: Path, parts: Path, tell: Callable[[int], None]
) -> list[str]:
    """Bring members that lie side by side. Returns what is wrong with those that came damaged."""
    damaged = []
    waiting = list(group)

    def finish() -> None:
        wrong = _unpack(waiting.pop(0), folder, parts)
        if wrong is not None:
            damaged.append(wrong)

    position = group[0].start + _kept(group[0], parts)
    end = group[-1].end
    file: BinaryIO | None = None
    try:
        for piece in source.stream(position, end) if position < end else ():
            while waiting and position < end and piece:
                member = waiting[0]
                kept = _kept(member, parts) if file is None else file.tell()
                skip = max(0, min(member.start + kept - position, len(piece)))
                piece, position = piece[skip:], position + skip
                used = piece[: member.end - position]
                if used:
                    file = file or _part(member, parts).open("ab")
                    file.write(used)
                    tell(len(used))
                    piece, position = piece[len(used) :], position + len(used)
                if position >= member.end:
                    if file is not None:
                        file.close()
                        file = None
                    finish()
            position += len(piece)
    finally:
        if file is not None:
            file.close()
    while waiting and _kept(waiting[0], parts) >= waiting[0].end - waiting[0].start:
        finish()
    return damaged


def _unpack(member: Member, folder: Path, parts: Path) -> str | None:
    """Put a member whose bytes are all there into its place. Returns what is wrong with them, if anything is."""
    part, out = _part(member, parts), parts / f"{member.start}.out"
    try:
        wrong = _inflate(member, part, out)
    except zlib.error as error:
        wrong = f"its packed bytes are damaged ({error})"
    part.unlink()
    if wrong is not None:
        out.unlink(missing_ok=True)
        return f"{member.name}: {wrong}"
    target = folder / member.path
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(out, target)
    return None


def _inflate(member: Member, part: Path, out: Path) -> str | None:
    with part.open("rb") as packed, out.open("wb") as file:
        head = packed.read(HEADER)
        if head[:4] != b"PK\x03\x04":
            return f"no member begins at byte {member.start:,}"
        packed.seek(HEADER + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"))
        unpacker = zlib.decompressobj(-15) if member.method == zipfile.ZIP_DEFLATED else None
        left, size, crc = member.packed, 0, 0
        while left > 0 or (unpacker is not None and unpacker.unconsumed_tail):
            if unpacker is not None and unpacker.unconsumed_tail:
                data = unpacker.decompress(unpacker.unconsumed_tail, COPY)
            else:
                piece = packed.read(min(COPY, left))
                if not piece:
                    return f"{left:,} of its {member.packed:,} packed bytes are missing"
                left -= len(piece)
                data = piece if unpacker is None else unpacker.decompress(piece, COPY)
            size, crc = size + len(data), zlib.crc32(data, crc)
            if size > member.size:
                return f"it unpacks to more than the {member.size:,} bytes that the directory says"
            file.write(data)
        if unpacker is not None:
            data = unpacker.flush()
            size, crc = size + len(data), zlib.crc32(data, crc)
            file.write(data)
        if size != member.size:
            return f"it has {size:,} bytes, and the directory says {member.size:,}"
        if crc != member.crc:
            return f"its CRC is {crc:08x}, and the directory says {member.crc:08x}"
        file.flush()
        os.fsync(file.fileno())
    return None


def _part(member: Member, parts: Path) -> Path:
    return parts / f"{member.start}.part"


def _kept(member: Member, parts: Path) -> int:
    """Bytes of a member that came before."""
    part = _part(member, parts)
    size = part.stat().st_size if part.is_file() else 0
    if size > member.end - member.start:
        part.unlink()
        return 0
    return size


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Say what to do where a disk is full or a folder cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            advice = "free space or raise the quota, then start the same command again: it goes on where it was cut"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = "give this user write permission there, or take another folder with --root"
        else:
            raise
        raise DownloadError(f"cannot write below {folder}: {error.strerror}; {advice}") from error


def human(size: float) -> str:
    """A number of bytes in words: '12.5 GB'."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
