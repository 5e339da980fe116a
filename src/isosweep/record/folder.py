"""The folder of a run: where it is, and what a start of the run has to do, judged by what the folder holds."""

import glob
import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from isosweep.errors import InputError
from isosweep.record.code_version import same_code
from isosweep.record.key import run_key, score_key
from isosweep.record.lock import LOCK_FILE, left_by_the_dead
from isosweep.record.other_code import refusal
from isosweep.record.reading import Unreadable, decoded, newer
from isosweep.record.schema import RECORD_FILE, STOPPED, Record, read_record
from isosweep.runtime.files import safe_file_name, storage_error

CONFIG_FILE = "config.yaml"
OVERRIDES_FILE = "overrides.yaml"
METRICS_FILE = "metrics.jsonl"
LOG_FILE = "run.log"
CHECKPOINTS = {"last": "last.pt", "best": "best.pt"}
"""Those that training replaces; `checkpoint_path` knows the ones that it keeps."""
PREVIOUS = "previous-"

Action = Literal["train", "resume", "score", "skip"]
_KEY = re.compile(r"[0-9a-f]{16}")
_KEY_LINE = re.compile(r"^# run key: (\S+)", re.MULTILINE)


class Plan(msgspec.Struct, frozen=True):
    """What a start of a run does, and the reason as text for the user.

    train: from step 0. resume: from the last checkpoint. score: the run is trained, so only evaluate and export.
    skip: nothing is left to do.
    """

    action: Action
    reason: str


def run_folder(root: Path, *, dataset: str, scene: str, label: str, seed: int, key: str) -> Path:
    """The path <root>/<dataset>/<scene>/<label>-s<seed>-<key>, in names that are safe on any file system."""
    return root / safe_file_name(dataset) / safe_file_name(scene) / f"{safe_file_name(label)}-s{seed}-{key}"


def checkpoint_path(folder: Path, which: str | int) -> Path:
    """The file of a checkpoint: 'last', 'best', a step that ``train.keep_every`` keeps, or a path."""
    if str(which).isdecimal():
        return folder / f"step-{int(which):08d}.pt"
    return folder / CHECKPOINTS[which] if which in CHECKPOINTS else Path(str(which))


def kept_steps(folder: Path) -> list[int]:
    """The steps whose checkpoints ``train.keep_every`` has kept, in order."""
    return sorted(
        int(path.stem.partition("-")[2]) for path in folder.glob("step-*.pt") if path.stem[5:].isdecimal()
    )


METHOD = "method"
"""Folder of a method that is not ours, in the run's folder: its data, what it wrote, and `METHOD_DONE`."""
METHOD_DONE = "done.json"
METHOD_ENDED = "ended.json"


def goes_on_from(folder: Path, config: dict[str, Any], trained: bool) -> Path:
    """The file from which a start goes on: the last checkpoint, or of a method that is not ours what it has left.

    A trained one has left `METHOD_DONE`. Before that it is the method's own checkpoint, or `METHOD_ENDED`, which says
    which of its commands need not run again.
    """
    if config.get("method") is None:
        return folder / CHECKPOINTS["last"]
    done, ended = folder / METHOD / METHOD_DONE, folder / METHOD / METHOD_ENDED
    if trained:
        return done
    return method_checkpoint(folder, config) or (ended if ended.exists() else done)


def method_checkpoint(folder: Path, config: dict[str, Any]) -> Path | None:
    """The newest file that fits ``method.resume.checkpoint`` of a method that is not ours; None if there is none."""
    pattern = (config["method"].get("resume") or {}).get("checkpoint")
    if pattern is None:
        return None
    out = glob.escape(str(folder / METHOD / "out"))
    found = glob.glob(pattern.replace("{out}", out), recursive=True)
    return max(map(Path, found), key=lambda path: path.stat().st_mtime, default=None)


def find_runs(root: Path) -> list[Path]:
    """The folders below ``root`` that hold a record, sorted. Runs moved aside are left out."""
    return sorted(map(Path, record_folders(str(root))))


def record_folders(root: str, on_error: Callable[[OSError], None] | None = None) -> Iterator[str]:
    """The folders below ``root`` that hold a record, sorted by name on every level. Runs moved aside are left out.

    Paths are plain strings: a Path object for every folder would take longer than reading the records. A folder is
    asked for its record before it is listed, because most folders are runs, and listing those would take half the time.

    Args:
        on_error: is told of a folder that cannot be listed, which is left out then; None raises the error.
    """
    if os.path.lexists(f"{root}/{RECORD_FILE}"):
        yield root
        return
    try:
        with os.scandir(root) as entries:
            found = sorted(e.name for e in entries if not e.name.startswith((".", PREVIOUS)) and e.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if on_error is None:
            raise
        on_error(error)
        return
    for name in found:
        yield from record_folders(f"{root}/{name}", on_error)


def known_key(scene_folder: Path, seed: int, key: str) -> str:
    """The key under which the run of ``key`` lies in ``scene_folder``: ``key``, or the one of an earlier version.

    In earlier versions, a key depended on more (import paths, loss terms that were off). A run of such a version is
    found by its recorded config: today's rules give ``key`` for it. It keeps its own key.
    """
    if not scene_folder.is_dir():
        return key
    ending = f"-s{seed}-"
    others = {}
    for path in scene_folder.iterdir():
        head, _, found = path.name.rpartition("-")
        if f"{head}-".endswith(ending) and _KEY.fullmatch(found):
            if found == key:
                return key
            others[path] = found
    for path, found in sorted(others.items()):
        if _todays_key(path, found) == key:
            return found
    return key


@cache
def _todays_key(folder: Path, found: str) -> str | None:
    """The key that today's rules give the recorded config; None if there is none."""
    record = _recorded(folder)
    return None if record.run_key != found or not record.config else run_key(record.config)


def recorded_config(folder: Path) -> dict[str, Any]:
    """The config in a run's record; an empty one if there is no readable record."""
    return _recorded(folder).config


@cache
def _recorded(folder: Path) -> "_Identity":
    """Whoever opens that run reports a record that cannot be read."""
    try:
        return decoded((folder / RECORD_FILE).read_bytes(), msgspec.json.Decoder(_Identity).decode)
    except (OSError, Unreadable):
        return _Identity()


class _Identity(msgspec.Struct):
    run_key: str = ""
    config: dict[str, Any] = {}


def read_stored(folder: Path, key: str) -> Record | None:
    """Read the record in ``folder``; None if it has none. Raises ValueError if the folder belongs to another key."""
    if (folder / RECORD_FILE).exists():
        record = read_record(folder)
        if record.run_key != key:
            raise InputError(_wrong_key_message(folder, RECORD_FILE, record.run_key, key))
        return record
    config = folder / CONFIG_FILE
    if config.exists():
        match = _KEY_LINE.search(config.read_text(encoding="utf-8", errors="replace"))
        if match is None or match[1] != key:
            raise InputError(
                _wrong_key_message(folder, CONFIG_FILE, match[1] if match else "no run key", key)
            )
    return None


def config_text(config_yaml: str, key: str) -> str:
    """The content of config.yaml: the config below a line with its run key."""
    return f"# run key: {key}\n{config_yaml.rstrip()}\n"


INTERRUPTED = ("queued", "running", *STOPPED)
"""States of a trained run whose scoring was cut off; ``decide`` lets it go on."""


def decide(
    folder: Path, record: Record | None, config: dict[str, Any], *, code: str, force: bool, rescore: bool
) -> Plan:
    """Decide what a start of the run in ``folder`` has to do.

    Args:
        record: the record in the folder, None if there is none.
        config: the resolved config of this start.
        code: hash of the numerical code of this start.
        force: train a trained run again. A run that was interrupted, while it trained or while it was scored, goes on
            all the same, also a forced one: a requeued job would start over for ever otherwise. It then goes on with
            other code, too.
        rescore: score a finished run again although its eval and export settings have not changed.

    Raises:
        FileNotFoundError: a trained run has to be scored again, but its last checkpoint is gone.
        ValueError: a later version has written the record. This one would lose what it does not know. Or other code
            has trained the first part of the run.
    """
    if record is not None and (why := newer(record.schema_version)) is not None:
        raise InputError(f"{folder / RECORD_FILE}: {why}, or choose another folder with run.root=")
    last = goes_on_from(folder, config, record is not None and record.trained)
    if record is None or not record.trained:
        if not last.exists():
            why = f"{_last_ending(record)}, before its first checkpoint" if record else "new run"
            return Plan("train", why)
        ours = config.get("method") is None
        if ours and record is not None and not force and (why := refusal(folder, record, code)) is not None:
            raise InputError(why)
        how = _last_ending(record) if record else "it has a checkpoint and no record"
        note = _code_note(record.code_hash, code, "it goes on with other code") if record else ""
        return Plan("resume", f"{how}; goes on from {last.name}{note}")
    if force and record.status not in INTERRUPTED:
        return Plan("train", f"trained {record.times.finished or 'before'}; run.force=true trains it again")
    same = score_key(record.config) == score_key(config)
    if record.status == "finished" and same and not rescore:
        note = _code_note(record.code_hash, code, "run.force=true retrains")
        hint = "" if note else "; run.force=true retrains"
        return Plan("skip", f"finished {record.times.finished}: nothing to do{note}{hint}")
    if not last.exists():
        raise FileNotFoundError(
            f"{folder} is trained and should be scored again, but its checkpoint {last.name} is gone: "
            "bring it back, or retrain with run.force=true"
        )
    if record.status != "finished":
        return Plan("score", f"is trained; {_last_ending(record)}: scores and exports again")
    return Plan(
        "score", "is trained; " + ("scores again as asked" if same else "other eval or export settings")
    )


def move_aside(folder: Path) -> Path:
    """Move everything of a run into its own previous-<n>/, so that training starts in an empty folder.

    The record is moved last: if the process is killed halfway, the run still counts as finished.
    """
    target = _next_previous(folder)
    moved = [p for p in folder.iterdir() if not _is_bookkeeping(p)]
    for path in sorted(moved, key=lambda p: (p.name == RECORD_FILE, p.name)):
        try:
            path.rename(target / path.name)
        except OSError as error:
            raise storage_error(error, target / path.name) from error
    return target


def keep_record(folder: Path) -> Path:
    """Copy the record into previous-<n>/ before its scores are replaced. Returns that folder."""
    target = _next_previous(folder)
    try:
        shutil.copy2(folder / RECORD_FILE, target / RECORD_FILE)
    except OSError as error:
        raise storage_error(error, target / RECORD_FILE) from error
    return target


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that killed processes left in the run's folder or in one below it, such as renders/.

    The caller must hold the lock. Earlier runs and the folder of a method that is not ours are left as they are.
    """
    below = (path for path in folder.glob("*/.*.tmp") if not path.parent.name.startswith((PREVIOUS, METHOD)))
    for path in (*folder.glob(".*.tmp"), *below):
        if not path.name.startswith(f".{LOCK_FILE}-") or left_by_the_dead(path):
            path.unlink(missing_ok=True)
    for path in folder.glob(f"{LOCK_FILE}.after-*"):
        if left_by_the_dead(path):
            path.unlink(missing_ok=True)


def _next_previous(folder: Path) -> Path:
    number = 1
    while True:
        target = folder / f"{PREVIOUS}{number}"
        try:
            target.mkdir()
            return target
        except FileExistsError:
            number += 1
        except OSError as error:
            raise storage_error(error, target) from error


def _is_bookkeeping(path: Path) -> bool:
    return path.name.startswith((PREVIOUS, LOCK_FILE, f".{LOCK_FILE}-"))


def _last_ending(record: Record) -> str:
    """How the last attempt ended, as text. A status 'running' means that its process died without recording it."""
    how = {
        "failed": "failed",
        "oom": "ran out of memory",
        "timeout": "ran into its time limit",
        "preempted": "was preempted",
        "cancelled": "was cancelled",
    }.get(record.status, "was interrupted")
    return f"the last start {how} at step {record.steps_done} of {record.max_steps}"


def _code_note(old: str, new: str, then: str) -> str:
    if not old or same_code(old, new):
        return ""
    return f"; the code has changed since ({old} then, {new} now): {then}"


def _wrong_key_message(folder: Path, file: str, found: str, key: str) -> str:
    return (
        f"{folder / file} belongs to another run: it says {found}, this run's key is {key}. "
        "Move that folder aside, or choose another run.root="
    )
