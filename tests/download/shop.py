"""A benchmark of this test's own: an archive on a local server, and how its scenes are asked for."""

import io
import random
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isosweep.download.addresses import Archive
from isosweep.download.get import Bar, Getter, Options
from isosweep.download.server import Server
from isosweep.download.sources import Benchmark, Take
from tests.support.file_server import Behaviour

FILES = {
    "README.txt": b"licences",
    "__MACOSX/data/chair/._a.json": b"a Finder was here",
    "data/drums/a.json": b"{}",
    "data/drums/train/r_0.png": random.Random(0).randbytes(400_000),
    "data/chair/a.json": b'{"frames": []}' * 20,
    "data/chair/train/r_0.png": random.Random(1).randbytes(30_000),
    "data/chair/train/r_1.png": bytes(50_000),
    "data/chair/images_8/a.png": random.Random(2).randbytes(2_000),
    "data/chair/images/a.png": random.Random(3).randbytes(20_000),
    "data/ficus/train/r_0.png": random.Random(4).randbytes(300_000),
}
CHAIR = {n.removeprefix("data/chair/"): d for n, d in FILES.items() if n.startswith("data/chair/")}


WITH_README_OF_CHAIR = CHAIR | {"README.txt": FILES["README.txt"]}


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip of these files; names that end in .png are stored, the others deflated."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(
                name, data, zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            )
    return out.getvalue()


def getter(
    address: str, root: Path, *, tries: int = 3, size: int | None = None, sha256: str | None = None, **options
) -> Getter:
    """Downloads scenes chair and drums of data.zip at the address; README.txt goes along."""
    archive = Archive("data.zip", f"{address}/data.zip", "this test", size, sha256)
    scenes = {
        s: (Take(archive, folder=s), Take(archive, file="README.txt", optional=True))
        for s in ("chair", "drums")
    }
    one = Benchmark("toys", "Toys", "page", "none", "none", scenes, "blender", "train {scene}")
    return Getter(one, Options(root, **options), Server(tries=tries, pause=0.001, timeout=(30, 30)), Told())


@dataclass
class Told(Bar):
    """Keeps what a bar is told."""

    total: int = 0
    done: int = 0
    said: str = ""

    def begin(self, what: str, total: int | None) -> None:
        self.total, self.done = total or 0, 0

    def advance(self, count: int) -> None:
        self.done += count

    def say(self, text: str) -> None:
        self.said += f"{text}\n"


def shop(files: dict[str, bytes] | None = None) -> Behaviour:
    return Behaviour({"/data.zip": zipped(FILES if files is None else files)})


def there(folder: Path) -> dict[str, bytes]:
    """The files of a scene's folder, without our marker."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith(".download-")
    }


def left_over(root: Path) -> list[str]:
    """What lies in the data root beside whole scenes."""
    names: Iterable[Path] = root.rglob("*") if root.exists() else ()
    return sorted(p.name for p in names if p.name.startswith(".") and not p.name.startswith(".download-"))
