"""One scene of a benchmark: from its archives into the folder in which its loader looks.

The scene is put together in ``.<scene>.download`` beside its place and moved there when it is whole, so a folder at
the place is a whole scene. A marker in it, ``.download-<scene>.json``, lists its files.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isosweep.download import unpack
from isosweep.download.addresses import Archive
from isosweep.download.archive import (
    Bytes,
    Directory,
    Member,
    OnDisk,
    OnServer,
    only_images,
    read_directory,
)
from isosweep.download.server import DownloadError, Remote, Server
from isosweep.download.sources import Benchmark
from isosweep.download.unpack import human
from isosweep.runtime.file_lock import try_lock
from isosweep.runtime.files import atomic_write_text


@dataclass(frozen=True)
class Options:
    """How scenes are downloaded."""

    root: Path
    """The folder of all data sets."""
    images: str | None = None
    """The one folder of images to take (images_8); None for all sizes."""
    whole: bool = False
    """Whether archives are downloaded whole, where a server gives no parts."""
    keep: bool = False
    """Whether archives that were downloaded whole are kept."""
    changed: bool = False
    """Whether an archive of another size than the known one is taken."""
    archives: Mapping[str, Path] = field(default_factory=dict)
    """Archives that are on this machine already: name -> file."""


class Bar:
    """Is told how much is to come and how much has come. This one shows nothing."""

    def begin(self, what: str, total: int | None) -> None: ...

    def advance(self, count: int) -> None: ...

    def end(self) -> None: ...

    def say(self, text: str) -> None: ...


@dataclass
class Getter:
    """Downloads scenes of one benchmark; an archive is looked at once for all of them."""

    benchmark: Benchmark
    options: Options
    server: Server
    bar: Bar
    _open: dict[str, tuple[Bytes, str]] = field(default_factory=dict)
    _listed: dict[str, Directory] = field(default_factory=dict)

    def get(self, scene: str) -> tuple[Path, bool]:
        """Bring a scene. Returns its folder, and whether anything was downloaded.

        Raises:
            DownloadError: the server, the archive, the disk or what is at the place stand against it.
        """
        target = self.options.root / self.benchmark.place(scene)
        marker = target / f".download-{scene}.json"
        known = _read_json(marker)
        if known.get("images") in (None, self.options.images) and _complete(known, target):
            return target, False
        if target.exists() and not known and self.benchmark.together is None:
            raise DownloadError(
                f"{target} exists, and this command did not make it: move it away, or take another folder with --root"
            )
        staging = target.parent / f".{target.name}.download"
        with unpack.full_disk_told(target.parent):
            staging.mkdir(parents=True, exist_ok=True)
            with _alone(staging, scene):
                self._fill(scene, staging, target)
                _publish(staging, target)
            shutil.rmtree(staging)  # only now: Windows deletes no file that is open, as the lock's was
        return target, True

    def _fill(self, scene: str, staging: Path, target: Path) -> None:
        """Put the whole scene, with its marker, into the folder ``scene`` of the staging folder."""
        parts, folder = staging / "parts", staging / "scene"
        sources = {}
        for take in self.benchmark.scenes[scene]:
            sources[take.archive.name] = self._source(take.archive)
        versions = {name: version for name, (_, version) in sources.items()}
        state = staging / "state.json"
        if state.exists() and _read_json(state) != versions:
            self.bar.say(f"{scene}: the archive was changed since the last try: beginning anew")
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        atomic_write_text(state, json.dumps(versions))
        wanted: dict[str, list[Member]] = {}
        directories = {name: self._directory(name, source) for name, (source, _) in sources.items()}
        for take in self.benchmark.scenes[scene]:
            members = directories[take.archive.name].choose(take)
            if self.options.images is not None and take.folder is not None and _has_images(members):
                members = only_images(members, self.options.images, take.archive.url)
            wanted.setdefault(take.archive.name, []).extend(members)
        # a scene that lies there whole, of other images, keeps what it has
        lacking = {
            name: [m for m in unpack.missing(members, folder) if not unpack.is_whole(target / m.path, m.size)]
            for name, members in wanted.items()
        }
        unpack.check_space([m for members in lacking.values() for m in members], parts)
        for name, members in lacking.items():
            own = parts / hashlib.sha256(name.encode()).hexdigest()[:8]
            own.mkdir(exist_ok=True)
            left = unpack.bytes_left(members, own)
            self.bar.begin(f"{self.benchmark.name} {scene}: {name}", left)
            try:
                unpack.fetch(sources[name][0], members, folder, own, self.bar.advance)
            finally:
                self.bar.end()
        _remove_others(folder, {m.path for members in wanted.values() for m in members})
        files = {
            m.path: {"size": m.size, "crc": f"{m.crc:08x}"} for members in wanted.values() for m in members
        }
        old = _read_json(target / f".download-{scene}.json")
        note = {
            "benchmark": self.benchmark.name,
            "scene": scene,
            "images": self.options.images if old.get("images", self.options.images) is not None else None,
            "from": {
                name: {"url": source.label, "version": versions[name]}
                for name, (source, _) in sources.items()
            },
            "licence": self.benchmark.licence,
            "files": old.get("files", {}) | files,
        }
        atomic_write_text(folder / f".download-{scene}.json", json.dumps(note, indent=1))

    def _directory(self, name: str, source: Bytes) -> Directory:
        if name not in self._listed:
            self._listed[name] = read_directory(source)
        return self._listed[name]

    def _source(self, archive: Archive) -> tuple[Bytes, str]:
        """An archive that can be read by position, and what tells its versions apart."""
        if archive.name not in self._open:
            self._open[archive.name] = self._opened(archive)
        return self._open[archive.name]

    def _opened(self, archive: Archive) -> tuple[Bytes, str]:
        given = self.options.archives.get(archive.name)
        kept = self.options.root / ".archives" / archive.name
        local = given or (kept if kept.is_file() else None)
        if local is not None:
            if not local.is_file():
                raise DownloadError(f"--archive: there is no file {local}")
            return OnDisk(local), f"{local.stat().st_size}"
        remote = self.server.look(archive.url)
        size_known = remote.size is not None and archive.size is not None
        if size_known and remote.size != archive.size and not self.options.changed:
            raise DownloadError(
                f"{archive.url} has {remote.size:,} bytes, and the archive that this command knows has"
                f" {archive.size:,}: its authors changed it, or it is another file. Take it with --changed"
            )
        if remote.ranges and not self.options.whole:
            return OnServer(self.server, remote), f"{remote.size} {remote.version}"
        if not self.options.whole:
            size = f"all of its {human(remote.size)}" if remote.size is not None else "all of it"
            raise DownloadError(
                f"the server of {archive.url} gives no parts of a file (HTTP ranges), so one scene means {size}. Say"
                " --whole to download the archive (once for all scenes that you name), or give one that you have with"
                " --archive"
            )
        return OnDisk(self._download(archive, remote, kept)), f"{remote.size} {remote.version}"

    def _download(self, archive: Archive, remote: Remote, place: Path) -> Path:
        """Download an archive whole."""
        part = place.with_name(
            f"{place.name}.{hashlib.sha256(str(remote.version).encode()).hexdigest()[:8]}.part"
        )
        with unpack.full_disk_told(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
            have = part.stat().st_size if part.is_file() and remote.ranges else 0
            if remote.size is not None:
                free = shutil.disk_usage(place.parent).free
                if remote.size - have > free:
                    raise DownloadError(
                        f"{place.parent} has {human(free)} free, and {archive.name} has {human(remote.size)}: free"
                        " space there, or take another folder with --root"
                    )
            self.bar.begin(archive.name, None if remote.size is None else remote.size - have)
            try:
                with part.open("ab" if have else "wb") as file:
                    for piece in self.server.stream(remote, have, remote.size):
                        file.write(piece)
                        self.bar.advance(len(piece))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                self.bar.end()
            if archive.sha256 is not None and not self.options.changed:
                self.bar.say(f"{archive.name}: comparing its SHA-256")
                digest = _sha256(part)
                if digest != archive.sha256:
                    part.unlink()
                    raise DownloadError(
                        f"{archive.name} has the SHA-256 {digest}, and {archive.sha256} is known: its bytes were"
                        " damaged on the way, or its authors changed it. Start again, or take it with --changed"
                    )
            os.replace(part, place)
        return place

    def clean(self) -> None:
        """Remove the archives that were downloaded whole, unless they are to be kept."""
        folder = self.options.root / ".archives"
        if self.options.keep:
            return
        for source, _ in self._open.values():
            if isinstance(source, OnDisk) and source.path.parent == folder:
                source.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another command may keep its archive there
            folder.rmdir()


def _has_images(members: list[Member]) -> bool:
    return any(m.path.startswith("images/") or m.path.startswith("images_") for m in members)


def _remove_others(folder: Path, wanted: set[str]) -> None:
    """Remove what an earlier try with other options brought in part: half a folder looks like a whole one."""
    for file in [p for p in folder.rglob("*") if p.is_file()]:
        if file.relative_to(folder).as_posix() not in wanted:
            file.unlink()


def _complete(known: Mapping[str, Any], target: Path) -> bool:
    """Whether every file of a marker is there in its size."""
    files = known.get("files", {})
    return bool(files) and all(unpack.is_whole(target / path, one["size"]) for path, one in files.items())


def _read_json(path: Path) -> dict[str, Any]:
    """What a file of ours says; nothing if it is not there or was damaged, which means to look again."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _publish(staging: Path, target: Path) -> None:
    """Move a whole scene to its place: at once, or, into a folder that is there, file by file, its marker last."""
    folder = staging / "scene"
    if not target.exists():
        os.rename(folder, target)
    else:
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        for file in sorted(files, key=lambda p: p.name.startswith(".download-")):
            place = target / file.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)


@contextlib.contextmanager
def _alone(staging: Path, scene: str) -> Iterator[None]:
    """Hold the staging folder against a second command."""
    with (staging / "lock").open("w") as file:
        if not try_lock(file):
            raise DownloadError(
                f"another command is downloading {scene} into {staging}: wait for it, or stop it"
            )
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
