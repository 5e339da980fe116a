"""Reads run records from folders and sweeps: records of this program's runs and records of other programs."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from isosweep.errors import InputError
from isosweep.record.folder import record_folders
from isosweep.record.launch import (
    latest_jobs,
    launch_folders,
    outcome_path,
    read_launch,
    sweep_names,
    sweeps_root,
)
from isosweep.record.lock import holder_is_alive
from isosweep.record.outcome import read_outcome
from isosweep.record.reading import Unreadable, decoded, json_values, newer, read_whole, unreadable
from isosweep.record.schema import RECORD_FILE, STOPPED, Status, Times
from isosweep.report.keys import (
    OTHER_KEYS,
    RECORD_FIELDS,
    ReportError,
    hashable,
    lookup,
    names_value,
    suggestion,
)

MISSING_STATES = ("queued", "running", *STOPPED, "lost", "waiting")
"""States of a run that may still give its number. In every other state it failed, unless it is finished."""


class ScorePart(msgspec.Struct, frozen=True):
    """The fields of a record's scores that a table needs."""

    protocol: str = ""
    values: dict[str, float | None] = {}
    settings: dict[str, Any] = {}
    reasons: dict[str, str] = {}


class ErrorPart(msgspec.Struct, frozen=True):
    """The fields of a record's error that a table needs."""

    type: str = ""
    message: str = ""


class MemoryPart(msgspec.Struct, frozen=True):
    """Peaks of memory in a record."""

    ram_peak_bytes: int | None = None
    cuda_peak_bytes: int | None = None


class RecordPart(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of record.json that a table needs. ``dataset``, ``scene`` and ``model`` or ``label`` are required."""

    dataset: str
    scene: str
    model: str = ""
    label: str = ""
    encoding: str = ""
    loss: str = ""
    seed: int | None = None
    status: Status = "finished"
    schema_version: int = 1
    run_key: str = ""
    name: str | None = None
    steps_done: int = 0
    max_steps: int = 0
    config: dict[str, Any] = {}
    overrides: list[str] = []
    scores: ScorePart | None = None
    scores_of: str | None = None
    times: Times = msgspec.field(default_factory=Times)
    memory: MemoryPart = msgspec.field(default_factory=MemoryPart)
    device: str = ""
    backend: str = ""
    code_hash: str = ""
    error: ErrorPart | None = None


class _RawScores(ScorePart, frozen=True):
    settings: msgspec.Raw = msgspec.Raw(b"{}")  # pyright: ignore[reportIncompatibleVariableOverride]


class _RawRecord(RecordPart, frozen=True, kw_only=True):
    """A record whose settings are not decoded yet."""

    config: dict[str, msgspec.Raw] = {}  # pyright: ignore[reportIncompatibleVariableOverride]
    scores: _RawScores | None = None  # pyright: ignore[reportIncompatibleVariableOverride]


_FIELDS = frozenset(RECORD_FIELDS)


@dataclass(frozen=True, slots=True)
class Run:
    """One record, and the folder in which it was found."""

    folder: str
    record: RecordPart

    @property
    def external(self) -> bool:
        """Whether another program trained it, so that the record has neither training code nor settings.

        Records of scripts/evaluate.py have backend 'external'. Records written by hand lack code hash and config.
        """
        r = self.record
        return r.backend == "external" or (not r.code_hash and not r.config)

    @property
    def code(self) -> str:
        """Hash of the numerical code that trained the run; '' for an external record, whose hash is its scorer's."""
        return "" if self.external else self.record.code_hash

    @property
    def scored(self) -> bool:
        """Whether the run is finished and has scores."""
        return self.record.status == "finished" and self.record.scores is not None

    def get(self, key: str) -> Any:
        """The value of a record field or a dotted config key, made hashable; None if the record lacks it."""
        return reader_of(key)(self)

    def why_not_scored(self) -> tuple[str, str]:
        """State and cause of a run without scores."""
        r = self.record
        if r.status == "finished":
            return "failed", "its record is finished and holds no scores"
        step = f" at step {r.steps_done} of {r.max_steps}" if r.max_steps else ""
        if r.status == "running" and not holder_is_alive(Path(self.folder)):
            return "lost", f"its process is gone and left no message{step}"
        if r.error is None or r.status == "running":
            return r.status, f"{r.status}{step}"
        return (
            r.status,
            f"{r.status}{step}: {r.error.type}: {(r.error.message.splitlines() or [''])[0][:200]}",
        )


@cache
def reader_of(key: str) -> Callable[[Run], Any]:
    """What reads ``Run.get(key)``. A table asks thousands of runs for the same few keys, so each is looked at once."""
    if key in ("model", "label"):  # a record needs only one of the two; it stands for both
        return lambda run: getattr(run.record, key) or run.record.model or run.record.label
    if key in _FIELDS:
        return attrgetter(f"record.{key}")
    others: dict[str, Callable[[Run], Any]] = {
        "protocol": lambda run: run.record.scores.protocol if run.record.scores is not None else None,
        "device_name": attrgetter("record.device"),
        "code_hash": lambda run: run.code or None,
        "name": attrgetter("record.name"),
    }
    return others[key] if key in OTHER_KEYS else lambda run: hashable(lookup(run.record.config, key))


@dataclass
class Collection:
    """The runs of all sources.

    ``broken`` maps a file that cannot be read to what is wrong with it, ``absent`` a planned run without a record to
    the reason.
    """

    runs: list[Run] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    duplicates: int = 0
    """How many records were left out because another record has the same run key."""


_DECODER = msgspec.json.Decoder(_RawRecord)
Shared = dict[bytes, Any]
"""Groups of settings, from their text to their one value. Thousands of runs have the same few: each is decoded once,
and runs whose settings are one object need not be compared (keys.config_differences)."""


def collect(sources: Sequence[str], root: Path) -> Collection:
    """Read all records of the sources.

    Args:
        sources: folders, record.json files or names of sweeps. A name that is both a sweep and a folder means the
            sweep; ``./name`` means the folder.
        root: folder of the runs that sweeps refer to (run.root).

    Raises:
        ReportError: a source is neither a folder nor a sweep.
    """
    found = Collection()
    below_root: Collection | None = None
    for source in sources:
        folder = Path(source).parent if Path(source).name == RECORD_FILE else Path(source)
        sweeps = sweep_names(sweeps_root(root)) if "/" not in source else []
        if source not in sweeps and folder.is_dir():
            _append(found, read_folder(folder))
            continue
        below_root = below_root or read_folder(root)
        part = _sweep_runs(source, root, below_root)
        if part is None:
            named = {r.record.name for r in below_root.runs if r.record.name} | set(sweeps)
            raise ReportError(
                f"{source!r} is neither a folder nor a sweep beside {root}.{suggestion(source, named)} "
                f"Sweeps: {', '.join(sorted(named)[-20:]) or 'none'}"
            )
        _append(found, part)
    found.runs, found.duplicates = _without_duplicates(found.runs)
    return found


def read_folder(root: Path) -> Collection:
    """Every record below a folder. A record that cannot be read is listed in ``broken``; the others are kept."""
    found = Collection()
    shared: Shared = {}

    def unlisted(error: OSError) -> None:
        found.broken[str(error.filename)] = str(error)

    for folder in record_folders(str(root), unlisted):
        path = f"{folder}/{RECORD_FILE}"
        try:
            found.runs.append(Run(folder, parse_record(read_whole(path), shared)))
        except FileNotFoundError:
            continue  # it was moved aside after the folder was listed
        except (ValueError, OSError) as error:
            found.broken[path] = str(error)
    return found


def parse_record(data: bytes, shared: Shared | None = None) -> RecordPart:
    """Parse record.json. NaN and Infinity are accepted: JSON does not have them, but Python's json writes them.

    Args:
        shared: settings of other records; what is there already is taken from there, so nobody may change it.

    Raises ValueError with what is wrong. A record of a later version is refused: what its numbers mean is not known.
    """
    known = {} if shared is None else shared
    try:
        part = decoded(data, lambda text: _record_part(text, known))
    except Unreadable as error:
        raise InputError(unreadable(data, error)) from error
    if (why := newer(part.schema_version)) is not None:
        raise InputError(why)
    if not part.model and not part.label:
        raise InputError("it names neither a `model` nor a `label`: add one, so that its row has a name")
    return part


def _record_part(data: bytes, shared: Shared) -> RecordPart:
    try:
        raw = _DECODER.decode(data)
        fields = msgspec.structs.asdict(raw)
        fields["config"] = {key: _shared(bytes(part), shared) for key, part in raw.config.items()}
        if raw.scores is not None:
            settings = _shared(bytes(raw.scores.settings), shared)
            if not isinstance(settings, dict):
                raise msgspec.ValidationError("Expected `object`, got another value - at `$.scores.settings`")
            fields["scores"] = ScorePart(raw.scores.protocol, raw.scores.values, settings, raw.scores.reasons)
        return RecordPart(**fields)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return msgspec.convert(json_values(data), RecordPart)


def _shared(text: bytes, shared: Shared) -> Any:
    if text not in shared:
        shared[text] = msgspec.json.decode(text)
    return shared[text]


def _sweep_runs(name: str, root: Path, known: Collection) -> Collection | None:
    """The runs of a sweep, or None if there is no such sweep.

    A run belongs to it if a launch of the sweep lists it, or if its record names the sweep.
    """
    keys: set[str] = set()
    absent: dict[str, str] = {}
    broken = dict(known.broken)
    have = {r.record.run_key for r in known.runs}
    # a folder's name ends in its run's key
    unread = {Path(path).parent.name.rpartition("-")[2]: why for path, why in known.broken.items()}
    launches = []
    for folder in launch_folders(sweeps_root(root), name):
        try:
            launches.append((folder, read_launch(folder)))
        except (ValueError, OSError) as error:
            broken[f"{folder}/launch.json"] = str(error)
    for folder, launch, job in latest_jobs(launches):
        outcome, cause = None, "not started"
        try:
            outcome = read_outcome(outcome_path(folder, job.number))
        except (ValueError, OSError) as error:
            cause = str(error)
        key = (outcome.key if outcome is not None else None) or job.key or ""
        if key in have:
            keys.add(key)
            continue
        if key in unread:
            cause = f"its record cannot be read: {unread[key]}"
        elif outcome is not None:
            cause = outcome.status
            if outcome.error is not None:
                cause += f": {outcome.error.type}: {(outcome.error.message.splitlines() or [''])[0][:200]}"
        absent[job.title or " ".join(job.overrides) or f"{launch.sweep} {job.number}"] = cause
    runs = [r for r in known.runs if r.record.run_key in keys or r.record.name == name]
    if not runs and not launches:
        return None
    return Collection(runs, broken, absent)


def _append(found: Collection, part: Collection) -> None:
    found.runs += part.runs
    found.broken |= part.broken
    found.absent |= part.absent


def _without_duplicates(runs: Sequence[Run]) -> tuple[list[Run], int]:
    """The runs with one record for each run key, and the number of records left out.

    A finished record is preferred, then the one finished last. External records are compared by folder: the mesh
    and the renders of one method have the same key.
    """
    kept: dict[str, Run] = {}
    duplicates = 0
    for run in runs:
        key = run.record.run_key
        if not key or run.external:
            key = os.path.realpath(run.folder)
        other = kept.get(key)
        if other is not None and other.folder != run.folder:
            duplicates += 1
        if other is None or _preference(run) > _preference(other):
            kept[key] = run
    return list(kept.values()), duplicates


def _preference(run: Run) -> tuple[bool, str]:
    return run.scored, run.record.times.finished or ""


def select_runs(runs: Sequence[Run], conditions: Sequence[tuple[str, str]]) -> list[Run]:
    """The runs that meet all conditions (key, value as text). Several values of one key are alternatives."""
    wanted: dict[str, list[str]] = {}
    for key, value in conditions:
        wanted.setdefault(key, []).append(value)
    return [r for r in runs if all(any(names_value(r.get(k), v) for v in vs) for k, vs in wanted.items())]
