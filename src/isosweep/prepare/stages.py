"""Steps that are done once: each is redone when what it was made from changes, or its files are gone.

A step has a digest of its own settings and of the steps it needs. The book (prepare.json) keeps digest,
settings and facts of every finished step; a step leaves it before it starts again, so that one that was
interrupted never counts as done.
"""

import fcntl
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isosweep.record.files import atomic_write_text

log = logging.getLogger("isosweep")
BOOK = "prepare.json"
LOCK = ".lock"
VERSION = 2
"""Of the book and of what the steps write: a change redoes everything."""


@dataclass(frozen=True)
class Stage:
    """One step."""

    name: str
    settings: dict[str, Any]
    """Whatever of the options changes its result; JSON values."""
    needs: tuple[str, ...]
    run: Callable[[], tuple[dict[str, Any], list[Path]]]
    """Does the work; facts for the report and later steps, and the files that must exist."""


class Book:
    """The steps of one folder."""

    def __init__(self, folder: Path, stages: list[Stage]) -> None:
        self.folder = folder
        self.stages = {stage.name: stage for stage in stages}
        kept = _read(folder / BOOK)
        self.entries: dict[str, Any] = kept.get("steps", {})
        self.owned: list[str] = kept.get("owned", [])
        """Files of folders that a user may put files into, too, which the preparation wrote."""
        self.asked: dict[str, Any] = kept.get("asked", {})
        """The options of the last call that were given and not left at their defaults."""
        self.done: list[str] = []
        """Steps that this process ran."""

    def digest(self, name: str) -> str:
        stage = self.stages[name]
        text = json.dumps(
            [VERSION, stage.name, stage.settings, [self.digest(n) for n in stage.needs]], sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def facts(self, name: str) -> dict[str, Any]:
        return self.entries[name]["facts"]

    def fresh(self, name: str) -> bool:
        """Whether the step is done, its files are there and it was made from what is asked for now."""
        return self._recorded(name) and all(
            (self.folder / file).exists() for file in self.entries[name]["files"]
        )

    def _recorded(self, name: str) -> bool:
        """Whether the step was done as it is asked for now, and so was every step it needs: one of those that was
        begun with other settings and not ended has left the book."""
        entry = self.entries.get(name)
        return (
            entry is not None
            and entry["digest"] == self.digest(name)
            and all(self._recorded(needed) for needed in self.stages[name].needs)
        )

    def bring(self, name: str) -> dict[str, Any]:
        """Do the step if it is not done, and before it those it needs; its facts."""
        if self.fresh(name):
            return self.facts(name)
        stage = self.stages[name]
        for needed in stage.needs:
            self.bring(needed)
        if (why := self._why(name)) is not None:
            log.info("%-9s again: %s", name, why)
        if self.entries.pop(name, None) is not None:
            self.write()
        began = time.perf_counter()
        facts, files = stage.run()
        seconds = time.perf_counter() - began
        self.entries[name] = {
            "digest": self.digest(name),
            "settings": stage.settings,
            "facts": facts,
            "files": [str(file.relative_to(self.folder)) for file in files],
            "seconds": round(seconds, 2),
        }
        self.write()
        self.done.append(name)
        return facts

    def _why(self, name: str) -> str | None:
        """Why a step that was done once is done again."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        if entry["digest"] == self.digest(name):
            gone = [f for f in entry["files"] if not (self.folder / f).exists()]
            return f"{gone[0]} is gone" if gone else "a step before it was begun with other settings"
        old, new = entry["settings"], self.stages[name].settings
        changed = [k for k in new if k in old and json.dumps(old[k]) != json.dumps(new[k])]
        if not changed:
            return "a step before it changed"
        return ", ".join(
            "the input's files changed" if k == "input" else f"{k} was {old[k]}, is {new[k]}" for k in changed
        )

    def own(self, files: list[Path]) -> None:
        """Remove what the preparation wrote before, and be the owner of ``files`` before they are written.

        Raises:
            FileExistsError: one of their folders holds somebody else's files; nothing is removed then.
        """
        self.check_owned()
        for name in self.owned:
            (self.folder / name).unlink(missing_ok=True)
        self.owned = [str(file.relative_to(self.folder)) for file in files]
        self.write()

    def check_owned(self) -> None:
        """Raise FileExistsError where images/ or masks/ hold files that were not written here."""
        for name in ("images", "masks"):
            folder = self.folder / name
            there = {str(p.relative_to(self.folder)) for p in folder.rglob("*") if p.is_file()}
            if foreign := sorted(there - set(self.owned)):
                raise FileExistsError(
                    f"{folder} holds {len(foreign)} files that were not made here ({', '.join(foreign[:3])}), and its "
                    "files have to be made again: move them to a folder outside of --out (masks: give that folder with "
                    "--masks). Nothing was overwritten"
                )

    def write(self) -> None:
        """Keep the book."""
        book = {"version": VERSION, "asked": self.asked, "owned": self.owned, "steps": self.entries}
        text = json.dumps(book, indent=1)
        atomic_write_text(self.folder / BOOK, text)


def _read(path: Path) -> dict[str, Any]:
    """The book; empty where it is absent, damaged or of another version."""
    if not path.is_file():
        return {}
    try:
        book = json.loads(path.read_text())
        entries = book["steps"]
        whole = all({"digest", "settings", "facts", "files"} <= set(e) for e in entries.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read (%s): everything is made again", path, error)
        return {}
    return book if whole and book["version"] == VERSION else {}


def fingerprint(files: list[Path]) -> str:
    """Digest of names and contents."""
    total = hashlib.blake2b(digest_size=16)
    for file in files:
        with file.open("rb") as handle:
            own = hashlib.file_digest(handle, "blake2b").hexdigest()
        total.update(f"{file.name}|{own}\n".encode())
    return total.hexdigest()


def asked_before(out: Path) -> dict[str, Any]:
    """What the last call for this folder asked for, by names of `Options`."""
    return _read(out / BOOK).get("asked", {})


def claim(out: Path) -> None:
    """Make the folder with an empty book, or see that it is one of ours.

    Raises:
        FileExistsError: it holds something else.
    """
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: give --out a folder")
    if out.is_dir() and not (out / BOOK).is_file():
        others = sorted(p.name for p in out.iterdir() if p.name != LOCK)
        if others:
            raise FileExistsError(
                f"{out} holds {', '.join(others[:6])} and no {BOOK}: it was not made here, and nothing in it is "
                "overwritten. Give --out a new folder"
            )
    out.mkdir(parents=True, exist_ok=True)
    if not (out / BOOK).is_file():
        atomic_write_text(out / BOOK, json.dumps({"version": VERSION, "steps": {}}))


@contextmanager
def held(out: Path) -> Iterator[None]:
    """One preparation a folder at a time; the kernel lets go when the process ends, however it ends.

    Raises:
        FileExistsError: another process has it.
    """
    with (out / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(
                f"another process prepares {out} at this moment: wait for it, or give another --out"
            ) from error
        yield
