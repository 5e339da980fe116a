"""One input: a good one, spoiled by a seed, read in a folder of its own, and the verdict."""

import contextlib
import io
import logging
import re
import shutil
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from isosweep.runtime.text import printable
from tests.fuzz import targets
from tests.fuzz.mutator import spoiled
from tests.fuzz.targets import Target

Files = Mapping[str, bytes | None]
"""Path below the input's folder -> content; None for a folder in the file's place."""
LONGEST = 8000
"""Characters of a message that still is one paragraph."""


@dataclass(frozen=True)
class Fault:
    """What a reader did that it should not: 'traceback', 'unclear', 'hang', 'memory' or 'crash'."""

    kind: str
    text: str

    @property
    def place(self) -> str:
        """What tells faults of one cause from others: the last line in the package, and the error's type."""
        own = re.findall(r"/(isosweep/[\w/]+\.py)\", line (\d+)", self.text)
        where = ":".join(own[-1]) if own else ""
        last = (self.text.splitlines() or [""])[-1]
        what = last.partition(":")[0][:60] if self.kind == "traceback" else re.sub(r"\d+", "N", last)[:60]
        return f"{self.kind} {where} {what}"


@cache
def good(target: Target) -> dict[str, bytes]:
    """The files of a target's good input."""
    with TemporaryDirectory(prefix="isosweep-fuzz-") as place:
        folder = Path(place) / "made"
        folder.mkdir()
        target.make(folder)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def changes(target: Target, seed: int) -> list[int]:
    """The seeds of an input's changes: one or a few."""
    rng = Random(f"{target.name}:{seed}")
    return [rng.randrange(1 << 48) for _ in range(rng.choice((1, 1, 1, 2, 3)))]


def changed(target: Target, seeds: Sequence[int]) -> Files:
    """The files of the good input after some changes."""
    files: dict[str, bytes | None] = dict(good(target))
    for seed in seeds:
        _change(target, files, Random(seed))
    return files


def _change(target: Target, files: dict[str, bytes | None], rng: Random) -> None:
    names = [name for name, data in files.items() if data is not None]
    if not names:
        return
    # a format's own files are spoiled as often as all pictures beside them
    text = [name for name in names if not name.endswith((".png", ".jpg"))]
    name = rng.choice(text if text and rng.random() < 0.8 else names)
    data = files[name]
    assert data is not None
    whole = [change for ending, change in target.whole if name.endswith(ending)]
    kind = rng.random()
    if kind < 0.01:
        del files[name]
    elif kind < 0.02:
        files[name] = b"" if rng.random() < 0.5 else None
    elif whole and kind < 0.5:
        files[name] = rng.choice(whole)(data, rng)
    else:
        others = [other for other in files.values() if other is not None and other is not data]
        files[name] = spoiled(name, data, rng, others[:20])


@contextlib.contextmanager
def written(files: Files) -> Iterator[Path]:
    """The files in a folder named 'made', in memory where the system has such a place."""
    place = Path("/dev/shm")
    with TemporaryDirectory(prefix="isosweep-fuzz-", dir=place if place.is_dir() else None) as outer:
        folder = Path(outer) / "made"
        folder.mkdir()
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if data is None:
                path.mkdir()
            else:
                path.write_bytes(data)
        yield folder


def judged(target: Target, files: Files) -> Fault | None:
    """Read an input; what is wrong with how its reader ended, or None."""
    with written(files) as folder, _quiet():
        targets.refused.clear()
        try:
            target.read(folder)
        except target.allowed as error:
            targets.refused.append(error)
        except MemoryError as error:
            return Fault("memory", _trace(error))
        except Exception as error:
            return Fault("traceback", _trace(error))
        for error in targets.refused:
            if (why := _unclear(target, error, files, folder)) is not None:
                return Fault("unclear", f"{_trace(error)}{why}")
    return None


def read_good(target: Target) -> None:
    """Read the good input, which no reader may refuse."""
    with written(good(target)) as folder, _quiet():
        targets.refused.clear()
        target.read(folder)
        if targets.refused:
            raise targets.refused[0]


def reduced(target: Target, files: Files, kind: str) -> Files:
    """Fewer changes that end in the same kind of fault: files that are good again, and single changes."""
    now = dict(files)
    for name, data in good(target).items():
        if now.get(name, b"\0absent") != data:
            tried = {**now, name: data}
            fault = judged(target, tried)
            if fault is not None and fault.kind == kind:
                now = tried
    return now


def saved(target: Target, files: Files, folder: Path) -> None:
    """Write what differs from the good input: files below ``folder``, and the absent ones in its file ABSENT."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    base = good(target)
    absent = [name for name in base if name not in files]
    if absent:
        (folder / "ABSENT").write_text("\n".join(absent) + "\n")
    for name, data in files.items():
        if base.get(name) != data:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if data is None:
                path.mkdir()
                (path / ".keep").touch()
            else:
                path.write_bytes(data)


def restored(target: Target, folder: Path) -> Files:
    """The input that `saved` has written."""
    absent = (folder / "ABSENT").read_text().splitlines() if (folder / "ABSENT").is_file() else []
    files: dict[str, bytes | None] = {k: v for k, v in good(target).items() if k not in absent}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == ".keep":
            files[path.parent.relative_to(folder).as_posix()] = None
        elif path.is_file() and name != "ABSENT":
            files[name] = path.read_bytes()
    return files


def _unclear(target: Target, error: Exception, files: Files, folder: Path) -> str | None:
    """What is wrong with a message; None where it is one paragraph that names a file."""
    text = str(error)
    if not text.strip():
        return "the message is empty"
    if len(text) > LONGEST:
        return f"the message has {len(text)} characters"
    shown = printable(" ".join(text.split()))
    named = str(folder) in shown or any(Path(name).name in shown for name in files)
    return None if named or not target.names else "the message names no file"


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-8000:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and no log lines; what is printed is dropped."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
