"""Where a run lives and what a start of it has to do, judged from what lies there."""

import os
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from isosweep.errors import InputError
from isosweep.record.code_version import same_code
from isosweep.record.key import run_key, score_key
from isosweep.record.lock import LOCK_FILE
from isosweep.record.schema import RECORD_FILE, Record, read_record
from isosweep.runtime.files import storage_error

CONFIG_FILE = "config.yaml"
OVERRIDES_FILE = "overrides.yaml"
METRICS_FILE = "metrics.jsonl"
LOG_FILE = "run.log"
CHECKPOINTS = {"last": "last.pt", "best": "best.pt"}
PREVIOUS = "previous-"

Action = Literal["train", "resume", "score", "skip"]
_KEY = re.compile(r"[0-9a-f]{16}")
_KEY_LINE = re.compile(r"^# run key: (\S+)", re.MULTILINE)


class Plan(msgspec.Struct, frozen=True):
    """What a start does, and why, in words for the user.

    train: from step 0. resume: from the last checkpoint. score: trained already, evaluate and
    export only. skip: all is there.
    """

    action: Action
    reason: str


def run_folder(root: Path, *, dataset: str, scene: str, label: str, seed: int, key: str) -> Path:
    """<root>/<dataset>/<scene>/<label>-s<seed>-<key>, every name made safe for any file system."""
    return root / _safe(dataset) / _safe(scene) / f"{_safe(label)}-s{seed}-{key}"


def find_runs(root: Path) -> list[Path]:
    """Every folder below ``root`` that holds a record, sorted; runs moved aside are left out."""
    found: list[Path] = []
    for folder, names, files in os.walk(root):
        if RECORD_FILE in files:
            found.append(Path(folder))
            names.clear()
        names[:] = [name for name in names if not name.startswith(PREVIOUS)]
    return sorted(found)


def known_key(scene_folder: Path, seed: int, key: str) -> str:
    """The key under which the run of ``key`` is kept in ``scene_folder``: ``key`` itself, or an earlier version's.

    Earlier versions counted more into a key (import paths, loss terms that were off). Their runs are
    recognised by the key that today's rules give their recorded config, and keep their own.
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
        if _key_today(path, found) == key:
            return found
    return key


@cache
def _key_today(folder: Path, found: str) -> str | None:
    """Today's key of the recorded config; None where there is no readable record, which others report."""
    try:
        record = msgspec.json.decode((folder / RECORD_FILE).read_bytes(), type=_Identity)
    except (OSError, msgspec.DecodeError):
        return None
    if record.run_key != found or not record.config:
        return None
    return run_key(record.config)


class _Identity(msgspec.Struct):
    run_key: str = ""
    config: dict[str, Any] = {}


def stored(folder: Path, key: str) -> Record | None:
    """The record in ``folder``, None where it has none; ValueError where it belongs to another key."""
    if (folder / RECORD_FILE).exists():
        record = read_record(folder)
        if record.run_key != key:
            raise InputError(_foreign(folder, RECORD_FILE, record.run_key, key))
        return record
    config = folder / CONFIG_FILE
    if config.exists():
        match = _KEY_LINE.search(config.read_text())
        if match is None or match[1] != key:
            raise InputError(_foreign(folder, CONFIG_FILE, match[1] if match else "no run key", key))
    return None


def config_text(config_yaml: str, key: str) -> str:
    return f"# run key: {key}\n{config_yaml.rstrip()}\n"


def decide(
    folder: Path, record: Record | None, config: dict[str, Any], *, code: str, force: bool, rescore: bool
) -> Plan:
    """What to do with what lies in ``folder``.

    ``force`` retrains a trained run. A forced run that was interrupted is resumed all the same:
    otherwise a requeued job would start over for ever. ``rescore`` scores a finished run again
    although nothing asks for it. FileNotFoundError where a trained run has to be scored again and
    its checkpoints are gone.
    """
    last = folder / CHECKPOINTS["last"]
    if record is None or not record.trained:
        if not last.exists():
            why = f"{_ending(record)}, before its first checkpoint" if record else "new run"
            return Plan("train", why)
        how = _ending(record) if record else "it has a checkpoint and no record"
        note = _code_note(record.code_hash, code, "it goes on with other code") if record else ""
        return Plan("resume", f"{how}; goes on from {last.name}{note}")
    if force:
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
        return Plan("score", f"is trained; {_ending(record)}: scores and exports again")
    return Plan(
        "score", "is trained; " + ("scores again as asked" if same else "other eval or export settings")
    )


def move_aside(folder: Path) -> Path:
    """Move all of a run into its own previous-<n>/: the next training starts in an empty folder.

    The record goes last, so that a kill half way leaves a run that is still known as finished.
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
    """Copy the record into previous-<n>/ before other scores replace the ones it holds."""
    target = _next_previous(folder)
    try:
        shutil.copy2(folder / RECORD_FILE, target / RECORD_FILE)
    except OSError as error:
        raise storage_error(error, target / RECORD_FILE) from error
    return target


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files of writers that were killed; the caller holds the lock."""
    for path in folder.glob(".*.tmp"):
        if not path.name.startswith(f".{LOCK_FILE}-"):
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


def _ending(record: Record) -> str:
    """How the last attempt ended; 'running' without a lock means that nobody could say."""
    how = {
        "failed": "failed",
        "oom": "ran out of memory",
        "timeout": "ran into its time limit",
        "preempted": "was preempted",
    }.get(record.status, "was interrupted")
    return f"the last start {how} at step {record.steps_done} of {record.max_steps}"


def _code_note(old: str, new: str, then: str) -> str:
    if not old or same_code(old, new):
        return ""
    return f"; the code has changed since ({old} then, {new} now): {then}"


def _foreign(folder: Path, file: str, found: str, key: str) -> str:
    return (
        f"{folder / file} belongs to another run: it says {found}, this run's key is {key}. "
        "Move that folder aside, or choose another run.root="
    )


def _safe(name: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9._+=-]+", "_", name).lstrip(".-")[:120]
    return clean or "_"
