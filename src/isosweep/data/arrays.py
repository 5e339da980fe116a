"""Reads .npy and .npz files that may be damaged.

numpy allocates the size that a file's header states, so a few wrong bytes could ask for terabytes of memory. Here
the stated size is first compared with the number of bytes in the file.
"""

import io
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from isosweep.errors import InputError

_DAMAGED = (
    ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, KeyError, SyntaxError,
    NotImplementedError, RuntimeError, OverflowError, TypeError, MemoryError, tokenize.TokenError,
)  # fmt: skip
"""Errors that zipfile and numpy's header parser raise for a file of another kind, or one that is cut off."""
_DEFLATE = 1040
"""Upper bound of the ratio of deflate compression (at most 1032)."""


def read_npz(file: Path, what: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, by name.

    Args:
        what: the content of the file in words ('the cameras'), for error messages.

    Raises:
        ValueError: the file is no archive or is damaged, holds Python objects, or states more data than it has.
    """
    try:
        arrays = {}
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.file_size > member.compress_size * _DEFLATE + 1024:
                    raise InputError(f"{member.filename} announces {member.file_size} bytes")
                with archive.open(member) as stream:
                    arrays[member.filename.removesuffix(".npy")] = _parsed(stream.read(member.file_size))
        return arrays
    except _DAMAGED as error:
        raise InputError(
            f"cannot read {what} in {file}: {error or type(error).__name__}. Copy the file again"
        ) from error


def read_npy(file: Path, what: str) -> np.ndarray:
    """The array of an .npy file.

    Args:
        what: the content of the file in words, for error messages.

    Raises:
        ValueError: the file is no array or is damaged, holds Python objects, or states more data than it has.
    """
    try:
        return _parsed(file.read_bytes())
    except _DAMAGED as error:
        raise InputError(
            f"cannot read {what} in {file}: {error or type(error).__name__}. Copy the file again"
        ) from error


def _parsed(data: bytes) -> np.ndarray:
    buffer = io.BytesIO(data)
    version = np.lib.format.read_magic(buffer)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(buffer)
    if dtype.hasobject:
        raise InputError("it holds Python objects, which are never unpickled")
    left = len(data) - buffer.tell()
    count = 1
    for n in shape:
        count *= int(n)
    if count < 0 or min(shape, default=0) < 0 or count * dtype.itemsize > left:
        raise InputError(
            f"an array of shape {shape} needs {count * dtype.itemsize} bytes, and {left} are there"
        )
    flat = np.frombuffer(data, dtype, count, buffer.tell())
    return flat.reshape(shape, order="F" if fortran else "C").copy()
