"""Png files written byte by byte: of any size, mode and damage."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

HEADER = b"\x89PNG\r\n\x1a\n"
GREY, RGB, GREY_ALPHA = 0, 2, 4
CHANNELS = {GREY: 1, RGB: 3, GREY_ALPHA: 2}


def chunk(kind: bytes, data: bytes, damaged: bool = False) -> bytes:
    """One chunk; a damaged one has another checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ damaged)


def header(width: int, height: int, kind: int = RGB, depth: int = 8) -> bytes:
    return HEADER + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))


def write_png(
    path: Path, rows: Sequence[bytes], width: int, kind: int = RGB, depth: int = 8, notes: bytes = b""
) -> None:
    """A png of these rows, with ``notes`` (chunks) before its pixels."""
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    path.write_bytes(
        header(width, len(rows), kind, depth) + notes + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def write_blank(path: Path, side: int, kind: int = GREY) -> None:
    """A png of ``side`` squared zeros, which takes a thousandth of its pixels on disk."""
    packer, row = zlib.compressobj(9), bytes(1 + side * CHANNELS[kind])
    data = b"".join([packer.compress(row) for _ in range(side)] + [packer.flush()])
    path.write_bytes(header(side, side, kind) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
