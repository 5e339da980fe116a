"""The cache of decoded images: one .npy file a set of images. A file appears only when it is complete."""

import contextlib
import hashlib
import logging
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from isosweep.data.decode import Source
from isosweep.errors import InputError

log = logging.getLogger(__name__)
_PREAD: Callable[[int, int, int], bytes] | None = getattr(os, "pread", None)
_FADVISE: Callable[[int, int, int, int], None] | None = getattr(os, "posix_fadvise", None)
_WILLNEED: int | None = getattr(os, "POSIX_FADV_WILLNEED", None)

_VERSION = 1
"""Increased whenever the same image files are decoded to other bytes, so that old cache files are not used."""


def cache_folder() -> Path:
    """The folder $ISOSWEEP_CACHE, else isosweep/ in the user's cache folder ($XDG_CACHE_HOME or ~/.cache)."""
    if own := os.environ.get("ISOSWEEP_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isosweep"


def cache_key(sources: Sequence[Source], downscale: int, channels: int) -> str:
    """A key for the decoded pixels of these files: 20 hex digits.

    It depends on the paths, sizes and modification times of the files, on ``downscale`` and ``channels``, and on
    the lens where its distortion is removed.
    """
    digest = hashlib.sha256(f"{_VERSION} {downscale} {channels}".encode())
    for source in sources:
        for path in (source.image, source.mask):
            stat = path.stat() if path is not None else None
            digest.update(
                f"{path and path.resolve()}|{stat and (stat.st_mtime_ns, stat.st_size)}\n".encode(
                    errors="surrogatepass"
                )
            )
        if source.warp is not None or source.turn:
            digest.update(f"{source.warp}|{source.turn}\n".encode())
        if source.ignores:
            digest.update(f"{source.meaning}\n".encode())
    return digest.hexdigest()[:20]


class FilePixels:
    """The rows of an .npy file of bytes, read from disk when they are needed. A row is one pixel.

    ``mapped`` is the whole file as a memory-mapped array. It gives the shape, and it is read on systems without
    pread. Elsewhere rows are read with pread instead: every page of a map that is touched counts as memory of
    this process, up to 2 MiB a pixel where the system keeps the file in large pages.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        version = np.lib.format.read_magic(self._file)
        if version != (1, 0):
            raise InputError(f"expected version 1.0 of the npy format, found {version}")
        self.shape, _, self.dtype = np.lib.format.read_array_header_1_0(self._file)
        self._start = self._file.tell()
        # read-only, because the system counts a writable map as memory in use and may refuse it
        whole = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        count = int(np.prod(self.shape))
        self.mapped = np.frombuffer(whole, self.dtype, count, self._start).reshape(self.shape)

    def rows(self, index: Int[np.ndarray, " r"]) -> UInt8[np.ndarray, "r c"]:
        """The rows with these indices, in their order."""
        self.prefetch(index, 1)
        return self.runs(index, 1)[:, 0]

    def runs(self, first: Int[np.ndarray, " n"], length: int) -> UInt8[np.ndarray, "n length c"]:
        """``length`` consecutive rows from each index in ``first``.

        Rows beyond the last one are zeros (on systems without pread, the last row again).

        After `prefetch` with the same arguments the disk need not be waited for.

        Raises:
            OSError: the file was truncated while in use.
        """
        if _PREAD is None:
            return self.mapped[np.minimum(first[:, None] + np.arange(length), self.shape[0] - 1)]
        size, number = length * self.shape[1], self._file.fileno()
        places = (self._start + first * self.shape[1]).tolist()
        data = bytearray().join([_PREAD(number, size, place) for place in places])
        if len(data) < size * len(places):
            data = bytearray().join(
                [self._whole(_PREAD(number, size, place), place, size) for place in places]
            )
        return np.frombuffer(data, np.uint8).reshape(len(first), length, self.shape[1])

    def _whole(self, read: bytes, place: int, size: int) -> bytes:
        if len(read) < min(size, self._start + self.mapped.size - place):
            raise self._cut_off(place + len(read))
        return read.ljust(size, b"\0")

    def _cut_off(self, place: int) -> OSError:
        return OSError(
            f"{self._file.name} ends at byte {place}: the image cache was cut off while in use. Remove it, and the "
            "same command decodes the images again"
        )

    def prefetch(self, first: Int[np.ndarray, " n"], length: int) -> None:
        """Tell the system which rows `runs` will read, so that it reads them in the background."""
        if _FADVISE is None or _WILLNEED is None:
            return
        size, number = length * self.shape[1], self._file.fileno()
        for place in (self._start + first * self.shape[1]).tolist():
            _FADVISE(number, place, size, _WILLNEED)

    def span(self, first: int, count: int) -> UInt8[np.ndarray, "r c"]:
        """``count`` consecutive rows from the index ``first``.

        Raises:
            OSError: the file was truncated while in use.
        """
        if _PREAD is None:
            return self.mapped[first : first + count]
        size, data = self.shape[1], bytearray()
        while len(data) < count * size:
            place = self._start + first * size + len(data)
            part = _PREAD(self._file.fileno(), min(count * size - len(data), 2**26), place)
            if not part:
                raise self._cut_off(place)
            data += part
        return np.frombuffer(data, np.uint8).reshape(count, size)


def open_cached(path: Path, shape: tuple[int, int]) -> FilePixels | None:
    """The pixels of a cache file; None where there is none, and with a warning where it is damaged or another's."""
    if not path.is_file():
        return None
    try:
        found = FilePixels(path)
    except (ValueError, EOFError) as error:
        log.warning("image cache %s is damaged (%s): decoding again", path, error)
        return None
    if found.shape != shape or found.dtype != np.uint8:
        log.warning("image cache %s holds %s, expected %s: decoding again", path, found.shape, shape)
        return None
    return found


def write_cached(path: Path, shape: tuple[int, int], views: Iterable[UInt8[np.ndarray, "h w c"]]) -> None:
    """Write the views one after another into one .npy file of ``shape`` (pixels, channels).

    The file is written under a temporary name and renamed when it is complete. It is not memory-mapped, because
    a full disk would then end the process with a signal instead of an error.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        handle, name = tempfile.mkstemp(prefix=path.stem + "-", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise OSError(error.errno, _no_room(path, shape, error)) from error
    try:
        with os.fdopen(handle, "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for view in views:
                _write(file, view, path, shape)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Delete temporary files of this cache file that are older than a day: a killed process left them."""
    for old in path.parent.glob(f"{path.stem}-*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            if time.time() - old.stat().st_mtime > 86_400:
                old.unlink()


def _write(file, view: np.ndarray, path: Path, shape: tuple[int, int]) -> None:
    try:
        file.write(np.ascontiguousarray(view).data)
    except OSError as error:
        raise OSError(error.errno, _no_room(path, shape, error)) from error


def _no_room(path: Path, shape: tuple[int, int], error: OSError) -> str:
    return (
        f"cannot write the decoded images ({shape[0] * shape[1] / 2**30:.2f} GiB) to {path.parent}: "
        f"{error.strerror}. Free some space, set ISOSWEEP_CACHE to a folder on another disk, or keep the "
        "pixels in memory with dataset.cache=false"
    )
