"""What a ply file announces in its header, which is read alone, whatever the file's size."""

from pathlib import Path

from isosweep.errors import InputError
from isosweep.runtime.text import printable

LONGEST_HEADER = 1 << 20
"""Bytes. A header has some lines; comments may be long."""


def announced(path: Path) -> dict[str, int]:
    """How many of each element, such as 'vertex' and 'face', the header of a ply announces.

    Raises:
        InputError: the file has no such header, or an element of it no count.
    """
    with path.open("rb") as file:
        head, found, _ = file.read(LONGEST_HEADER).partition(b"end_header")
    if not head.startswith(b"ply") or not found:
        raise InputError(
            f"{path} is no ply: no header between 'ply' and 'end_header' was found. Export it again"
        )
    counts = {}
    for line in head.splitlines():
        words = [printable(str(word, "latin-1")) for word in line.split()]
        if words[:1] != ["element"]:
            continue
        if len(words) != 3 or not words[2].isdecimal() or len(words[2]) > 18:
            raise InputError(
                f"{path}: its header has '{' '.join(words)[:80]}', where 'element <name> <count>' was sought: export "
                "it again"
            )
        counts[words[1]] = int(words[2])
    return counts


def require_ply(path: Path, why: str) -> None:
    """Check that a file is a ply, and no shorter than what its header announces.

    A data set's file never chooses a general reader: an archive under the name of points would be unpacked.

    Args:
        why: who says that it is one, for the message.

    Raises:
        InputError: its ending is another, `announced` refuses it, or it announces more elements than it has bytes.
    """
    if path.suffix.lower() != ".ply":
        raise InputError(f"{path} is no .ply, and {why}: points are read from ply files alone")
    require_counts(path)


def require_counts(path: Path) -> None:
    """Check that a ply announces no more elements than it has bytes.

    Raises:
        InputError: it does, or `announced` refuses it.
    """
    size = path.stat().st_size
    for name, count in announced(path).items():
        if count > size:
            raise InputError(
                f"{path} announces {count} of '{name[:20]}' in {size} bytes: it is damaged or was cut off. Copy it "
                "again"
            )
