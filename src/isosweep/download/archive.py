"""What is in a zip, and which of its files make a scene, read from its directory alone.

A zip has a directory at its end. A scene of 300 MB in an archive of 12 GB costs that directory and its own bytes.
"""

import fnmatch
import io
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from isosweep.download.server import DownloadError, Remote, Server
from isosweep.download.sources import Take

TAIL = 1 << 18
"""Bytes at the end of an archive that are read first: they hold the directory of a few thousand files."""
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


@dataclass(frozen=True)
class OnServer:
    """An archive of which a server gives parts."""

    server: Server
    remote: Remote

    @property
    def label(self) -> str:
        return self.remote.url

    @property
    def size(self) -> int:
        assert self.remote.size is not None, "a server that gives parts tells the size"
        return self.remote.size

    def stream(self, start: int, end: int) -> Iterator[bytes]:
        return self.server.stream(self.remote, start, end)


@dataclass(frozen=True)
class OnDisk:
    """An archive in a file."""

    path: Path

    @property
    def label(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def stream(self, start: int, end: int) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(start)
            while start < end and (piece := file.read(min(1 << 20, end - start))):
                start += len(piece)
                yield piece


Bytes = OnServer | OnDisk
"""An archive that is read by position."""


@dataclass(frozen=True)
class Member:
    """A file of an archive, and where it goes."""

    path: str
    """Below the scene's folder, with '/'."""
    name: str
    """In the archive."""
    start: int
    """The first byte of its local header."""
    end: int
    """The first byte of whatever comes after it."""
    packed: int
    size: int
    crc: int
    method: int


class _Window(io.RawIOBase):
    """An archive as a seekable file for `zipfile`, which reads the end and the directory."""

    def __init__(self, source: Bytes) -> None:
        self.source, self.position = source, 0
        self.tail_start = max(0, source.size - TAIL)
        self.tail = b"".join(source.stream(self.tail_start, source.size))

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.source.size}[whence]
        self.position = max(0, base + offset)
        return self.position

    def read(self, size: int = -1) -> bytes:
        end = self.source.size if size is None or size < 0 else min(self.position + size, self.source.size)
        start, self.position = self.position, max(self.position, end)
        if start >= end:
            return b""
        if start >= self.tail_start:
            return self.tail[start - self.tail_start : end - self.tail_start]
        return b"".join(self.source.stream(start, end))


@dataclass(frozen=True)
class Directory:
    """All files of an archive in the order of their bytes."""

    label: str
    infos: tuple[zipfile.ZipInfo, ...]
    ends: tuple[int, ...]
    """Where the bytes of each one end: where the next begin."""

    def choose(self, take: Take) -> list[Member]:
        """The files that ``take`` names, with their places below the scene's folder.

        Raises:
            DownloadError: there is no such folder or file, or a file cannot be unpacked safely.
        """
        chosen = self._file(take.file) if take.file is not None else self._folder(take)
        if not chosen and not take.optional:
            what = f"file {take.file}" if take.file is not None else f"folder {take.folder}"
            raise DownloadError(
                f"{self.label} has no {what}; it has {self._some()}: it was changed, or is another archive"
            )
        members = []
        for i, path in chosen:
            info = self.infos[i]
            safe = _safe(f"{take.to}/{path}" if take.to else path, self.label)
            _check_kind(info, self.label)
            members.append(
                Member(
                    safe,
                    info.filename,
                    info.header_offset,
                    self.ends[i],
                    info.compress_size,
                    info.file_size,
                    info.CRC,
                    info.compress_type,
                )
            )
        return members

    def _file(self, name: str) -> list[tuple[int, str]]:
        found = [(len(parts), i) for i, parts in self._listed() if parts[-1] == name]
        return [(min(found)[1], name)] if found else []

    def _folder(self, take: Take) -> list[tuple[int, str]]:
        """The files below the folder; of several folders of that name, the one nearest to the archive's top."""
        assert take.folder is not None, "a take names a folder or a file"
        sought = tuple(take.folder.split("/"))
        roots = {
            parts[: i + len(sought)]
            for _, parts in self._listed()
            for i in range(len(parts) - len(sought))
            if parts[i : i + len(sought)] == sought
        }
        if not roots:
            return []
        root = min(roots, key=lambda parts: (len(parts), parts))
        below = [
            (i, "/".join(parts[len(root) :])) for i, parts in self._listed() if parts[: len(root)] == root
        ]
        return [(i, p) for i, p in below if not any(fnmatch.fnmatchcase(p, pattern) for pattern in take.skip)]

    def _listed(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Index and path of every file that is data: no folders, and nothing that a Finder left."""
        for i, info in enumerate(self.infos):
            parts = tuple(p for p in info.filename.split("/") if p != ".")
            if info.is_dir() or "__MACOSX" in parts or parts[-1] == ".DS_Store" or parts[-1].startswith("._"):
                continue
            yield i, parts

    def _some(self) -> str:
        names = sorted({"/".join(parts[:2]) for _, parts in self._listed()})
        return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "") or "nothing"


def read_directory(source: Bytes) -> Directory:
    """The directory of an archive.

    Raises:
        DownloadError: it is no zip, or it is damaged.
    """
    try:
        with zipfile.ZipFile(_Window(source)) as archive:  # type: ignore[arg-type]
            infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
            begin = archive.start_dir
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        first = b"".join(source.stream(0, min(16, source.size)))
        raise DownloadError(
            f"{source.label} ({source.size:,} bytes) is no whole zip ({error}); it begins with {first!r}. If it was"
            " downloaded by hand, download it again; else look at the address in a browser"
        ) from error
    ends = [*(info.header_offset for info in infos[1:]), begin][: len(infos)]
    return Directory(source.label, tuple(infos), tuple(ends))


def only_images(members: Sequence[Member], images: str, label: str) -> list[Member]:
    """The members without the folders of images of other sizes.

    Raises:
        DownloadError: there is no such folder of images.
    """
    tops = {PurePosixPath(m.path).parts[0] for m in members if "/" in m.path}
    sizes = {top for top in tops if top == "images" or top.removeprefix("images_").isdecimal()}
    if images not in sizes:
        raise DownloadError(
            f"{label}: the scene has no folder {images}; it has {', '.join(sorted(sizes)) or 'one size only'}"
        )
    return [m for m in members if m.path.split("/")[0] not in sizes - {images}]


def _safe(path: str, label: str) -> str:
    """The path, if it stays below the folder into which it is unpacked.

    Raises:
        DownloadError: it leads out of the folder.
    """
    parts = path.split("/")
    if (
        path.startswith("/")
        or any(part in ("..", "") for part in parts)
        or any(c in path for c in ("\\", "\0"))
        or (len(parts[0]) > 1 and parts[0][1] == ":")
    ):
        raise DownloadError(
            f"{label} holds '{path!s}', a path that leads out of the scene's folder: the archive is not to be trusted,"
            " and nothing of it was unpacked"
        )
    return path


def _check_kind(info: zipfile.ZipInfo, label: str) -> None:
    """Refuse what is no plain file, or what cannot be unpacked here."""
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise DownloadError(f"{label}: {info.filename} is a link or a device, which is not unpacked")
    if info.flag_bits & 0x1:
        raise DownloadError(
            f"{label}: {info.filename} is encrypted: ask the authors for the password, unpack by hand"
        )
    if info.compress_type not in METHODS:
        raise DownloadError(
            f"{label}: {info.filename} is packed by method {info.compress_type}, and only stored and deflated files are"
            " read here: download the archive in a browser and unpack it with 7-Zip"
        )
