"""Reads .npy and .npz files of other people, which may be damaged or made to take all memory.

numpy allocates the size that a file's header states, and unpacks every array of an archive: half a megabyte may become
gigabytes for an array that nobody needs. Here the header of an array is read first, and its shape and type compared
with what is sought, with the bytes of the file, and with a bound (`isosweep.runtime.limits.ARRAY_MEBIBYTES`). Arrays
that are not sought are not unpacked, and Python objects never.
"""

import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, final

import numpy as np

from isosweep.errors import InputError
from isosweep.runtime.limits import ARRAY_MEBIBYTES

_DAMAGED = (
    ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, KeyError, SyntaxError,
    NotImplementedError, RuntimeError, OverflowError, TypeError, MemoryError, tokenize.TokenError,
)  # fmt: skip
"""Errors that zipfile and numpy's header parser raise for a file of another kind, or one that is cut off."""
_LONGEST_HEADER = 10_000
"""Bytes; numpy's own bound."""
_MOST_MEMBERS = 1_000_000


@final
@dataclass(frozen=True)
class Sought:
    """What an array has to be."""

    shapes: Collection[tuple[int | None, ...]] | None = None
    """The shapes that it may have; None in the place of any length. None: any shape."""
    kinds: str = "fiu"
    """numpy's letters of its type: f, i and u are numbers, b booleans, U text."""
    words: str = "numbers"
    """The same for the message, such as 'a 4x4 matrix of numbers'."""
    most: int | None = None
    """Bytes, at most; None takes the bound of all arrays."""

    def check(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Raise InputError where an array of this shape and type is not what is sought."""
        if dtype.hasobject:
            raise InputError("it holds Python objects, which are never unpickled")
        fits = self.shapes is None or any(
            len(shape) == len(one) and all(b is None or a == b for a, b in zip(shape, one, strict=True))
            for one in self.shapes
        )
        if not fits or dtype.kind not in self.kinds:
            raise InputError(f"{name} is {dtype} of shape {shape}; expected {self.words}")


NUMBERS = Sought()
MATRIX = Sought(((4, 4), (3, 4)), words="a 4x4 matrix of numbers")


def read_npz(
    file: Path, what: str, wanted: Callable[[str], bool] = lambda name: True, sought: Sought = NUMBERS
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that are wanted, by name.

    Args:
        what: the content of the file in words ('the cameras'), for error messages.
        wanted: whether an array of a name is read.
        sought: what each of them has to be.

    Raises:
        InputError: the file is no archive or is damaged, holds Python objects or what is not sought, or states more
            data than it has or is allowed to have.
    """
    try:
        arrays = {}
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS:
                raise InputError(f"it has {len(members)} members")
            for member in members:
                name = member.filename.removesuffix(".npy")
                if not wanted(name):
                    continue
                with archive.open(member) as stream:
                    arrays[name] = _parsed(stream, member.file_size, name, sought)
        return arrays
    except _DAMAGED as error:
        raise InputError(
            f"cannot read {what} in {file}: {error or type(error).__name__}. Copy the file again"
        ) from error


def names_of(file: Path, what: str) -> list[str]:
    """The names of the arrays in an .npz file; none is unpacked. Raises InputError as `read_npz`."""
    try:
        with zipfile.ZipFile(file) as archive:
            return [member.filename.removesuffix(".npy") for member in archive.infolist()]
    except _DAMAGED as error:
        raise InputError(
            f"cannot read {what} in {file}: {error or type(error).__name__}. Copy the file again"
        ) from error


def read_npy(file: Path, what: str, sought: Sought = NUMBERS) -> np.ndarray:
    """The array of an .npy file; arguments and errors as `read_npz`."""
    try:
        with file.open("rb") as stream:
            return _parsed(stream, file.stat().st_size, "it", sought)
    except _DAMAGED as error:
        raise InputError(
            f"cannot read {what} in {file}: {error or type(error).__name__}. Copy the file again"
        ) from error


def _parsed(stream: io.BufferedIOBase | IO[bytes], size: int, name: str, sought: Sought) -> np.ndarray:
    """The array of a stream that announces ``size`` bytes."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise InputError(f"its format {version} is not known")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(_Head(stream), max_header_size=_LONGEST_HEADER)  # pyright: ignore[reportArgumentType] - only read() is called
    sought.check(name, shape, dtype)
    count = 1
    for n in shape:
        count *= int(n)
    needed, left = count * dtype.itemsize, size - stream.tell()
    if min(shape, default=0) < 0 or needed > left:
        raise InputError(f"an array of shape {shape} needs {needed} bytes, and {left} are there")
    most = ARRAY_MEBIBYTES.value << 20 if sought.most is None else sought.most
    if needed > most:
        raise InputError(
            f"an array of shape {shape} needs {needed} bytes, and {most} are read at most; if it is right, "
            f"{ARRAY_MEBIBYTES.raised(needed / 2**20)}"
        )
    data = stream.read(needed)
    if len(data) < needed:
        raise InputError(f"an array of shape {shape} needs {needed} bytes, and {len(data)} are there")
    return np.frombuffer(data, dtype, count).reshape(shape, order="F" if fortran else "C").copy()


class _Head:
    """A stream that gives no more than a header: a wrong length in it would ask for gigabytes."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream

    def read(self, n: int) -> bytes:
        if n > _LONGEST_HEADER:
            raise InputError(f"its header announces {n} bytes")
        return self._stream.read(n)
