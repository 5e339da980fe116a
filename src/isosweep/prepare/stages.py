"""Stages of a preparation that run once, and again only when their inputs change or their files are gone.

Each stage has a digest of its own settings and of the digests of the stages it needs. The manifest
(prepare.json) keeps the digest, settings, facts and files of every finished stage. A stage's entry is
removed before the stage starts, so an interrupted stage never counts as finished.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isosweep.runtime.file_lock import try_lock
from isosweep.runtime.files import atomic_write_text

log = logging.getLogger("isosweep")
MANIFEST = "prepare.json"
LOCK = ".lock"
VERSION = 2
"""Of the manifest and of the files that stages write. A manifest with another number counts as absent."""


@dataclass(frozen=True)
class Stage:
    """One stage. Its name is stored in the manifest of every prepared folder and must not change."""

    name: str
    settings: dict[str, Any]
    """The options that change its result, as JSON values."""
    needs: tuple[str, ...]
    """Names of the stages that must have run before."""
    run: Callable[[], tuple[dict[str, Any], list[Path]]]
    """Does the work. Returns facts for later stages and messages (JSON values), and the files it made."""


class Manifest:
    """The finished stages of one folder, kept in its prepare.json."""

    def __init__(self, folder: Path, stages: list[Stage]) -> None:
        self.folder = folder
        self.stages = {stage.name: stage for stage in stages}
        stored = _read(folder / MANIFEST)
        self.entries: dict[str, Any] = stored.get("steps", {})
        """Name of a finished stage -> its digest, settings, facts, files and seconds."""
        self.owned: list[str] = stored.get("owned", [])
        """Files that the preparation wrote into images/ and masks/, where users may put files as well."""
        self.options: dict[str, Any] = stored.get("asked", {})
        """The options of the last successful call that differ from their defaults."""
        self.ran: list[str] = []
        """Names of the stages that this process ran."""

    def digest(self, name: str) -> str:
        """20 hex digits of the stage's settings and of the digests of the stages it needs."""
        stage = self.stages[name]
        text = json.dumps(
            [VERSION, stage.name, stage.settings, [self.digest(n) for n in stage.needs]], sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def facts(self, name: str) -> dict[str, Any]:
        """What a finished stage found out.

        Raises:
            KeyError: the stage is not finished.
        """
        return self.entries[name]["facts"]

    def is_current(self, name: str) -> bool:
        """True if the stage finished with the present settings and all its files still exist."""
        return self._is_recorded(name) and all(
            (self.folder / file).exists() for file in self.entries[name]["files"]
        )

    def _is_recorded(self, name: str) -> bool:
        """True if the manifest holds the stage, and every stage it needs, with the present settings.

        The needed stages are checked as well: if one of them started with other settings and was
        interrupted, its entry is gone, although this stage's own digest may match again.
        """
        entry = self.entries.get(name)
        return (
            entry is not None
            and entry["digest"] == self.digest(name)
            and all(self._is_recorded(needed) for needed in self.stages[name].needs)
        )

    def ensure(self, name: str) -> dict[str, Any]:
        """Run the stage unless it is current, after the stages it needs. Returns the stage's facts."""
        if self.is_current(name):
            return self.facts(name)
        stage = self.stages[name]
        for needed in stage.needs:
            self.ensure(needed)
        if (reason := self._reason_to_repeat(name)) is not None:
            log.info("%-9s again: %s", name, reason)
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
        self.ran.append(name)
        return facts

    def _reason_to_repeat(self, name: str) -> str | None:
        """Why a stage that finished before has to run again; None if it never finished."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        if entry["digest"] == self.digest(name):
            gone = [f for f in entry["files"] if not (self.folder / f).exists()]
            return f"{gone[0]} is gone" if gone else "an earlier stage had started with other settings"
        old, new = entry["settings"], self.stages[name].settings
        changed = [k for k in new if k in old and json.dumps(old[k]) != json.dumps(new[k])]
        if not changed:
            return "an earlier stage changed"
        return ", ".join(
            "the input's files changed" if k == "input" else f"{k} was {old[k]}, is {new[k]}" for k in changed
        )

    def take_over(self, files: list[Path]) -> None:
        """Remove the files in images/ and masks/ that the preparation wrote before, and register ``files``.

        Call it before ``files`` are written: they are known as ours even if the process is killed meanwhile.

        Raises:
            FileExistsError: images/ or masks/ hold files that the preparation did not write. Nothing is removed then.
        """
        self.check_no_foreign_files()
        for name in self.owned:
            (self.folder / name).unlink(missing_ok=True)
        self.owned = [str(file.relative_to(self.folder)) for file in files]
        self.write()

    def check_no_foreign_files(self) -> None:
        """Raise FileExistsError if images/ or masks/ hold files that the preparation did not write."""
        for name in ("images", "masks"):
            folder = self.folder / name
            present = {str(p.relative_to(self.folder)) for p in folder.rglob("*") if p.is_file()}
            if foreign := sorted(present - set(self.owned)):
                raise FileExistsError(
                    f"{folder} holds {len(foreign)} files that were not made here ({', '.join(foreign[:3])}), and this "
                    "folder has to be made again: move them to a folder outside of --out (masks: give that folder with "
                    "--masks). Nothing was overwritten"
                )

    def write(self) -> None:
        """Write prepare.json. Its keys are older than the names used here and stay as they are."""
        stored = {"version": VERSION, "asked": self.options, "owned": self.owned, "steps": self.entries}
        atomic_write_text(self.folder / MANIFEST, json.dumps(stored, indent=1))


def _read(path: Path) -> dict[str, Any]:
    """The content of prepare.json; empty if the file is absent, damaged or of another version."""
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text())
        entries = stored["steps"]
        complete = all({"digest", "settings", "facts", "files"} <= set(e) for e in entries.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning(
            "%s cannot be read (%s): every stage runs again; delete images/ and masks/ there first",
            path,
            error,
        )
        return {}
    return stored if complete and stored["version"] == VERSION else {}


def fingerprint(files: list[Path]) -> str:
    """32 hex digits of the names and contents of the files, in the given order."""
    total = hashlib.blake2b(digest_size=16)
    for file in files:
        with file.open("rb") as handle:
            content = hashlib.file_digest(handle, "blake2b").hexdigest()
        total.update(f"{file.name}|{content}\n".encode(errors="surrogatepass"))
    return total.hexdigest()


def last_options(out: Path) -> dict[str, Any]:
    """The options of the last successful call for this folder, as `PrepareOptions.non_defaults` gave them."""
    return _read(out / MANIFEST).get("asked", {})


def claim_folder(out: Path) -> None:
    """Create the folder with an empty manifest, unless it is a prepared folder already.

    Raises:
        FileExistsError: ``out`` is a file, or a folder that holds files but no manifest.
    """
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: give --out a folder")
    if out.is_dir() and not (out / MANIFEST).is_file():
        others = sorted(p.name for p in out.iterdir() if p.name != LOCK)
        if others:
            raise FileExistsError(
                f"{out} holds {', '.join(others[:6])} and no {MANIFEST}: it was not made here, and nothing in it is "
                "overwritten. Give --out a new folder"
            )
    out.mkdir(parents=True, exist_ok=True)
    if not (out / MANIFEST).is_file():
        atomic_write_text(out / MANIFEST, json.dumps({"version": VERSION, "steps": {}}))


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Allow one preparation of a folder at a time. The kernel releases the lock even if the process is killed.

    Raises:
        FileExistsError: another process holds the lock.
    """
    with (out / LOCK).open("w") as file:
        if not try_lock(file):
            raise FileExistsError(
                f"another process prepares {out} at this moment: wait for it, or give another --out"
            )
        yield
