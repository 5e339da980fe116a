"""Records from folders and sweeps, of this program's runs and of anybody else's methods."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

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
from isosweep.record.schema import RECORD_FILE, Status, Times
from isosweep.record.summaries import record_folders
from isosweep.report.keys import FURTHER, OWN, ReportError, hashable, lookup, means, near

MISSING_STATES = ("queued", "running", "preempted", "lost", "waiting")
"""States of a run that may still bring its number; the others failed."""


class ScorePart(msgspec.Struct, frozen=True):
    protocol: str = ""
    values: dict[str, float | None] = {}
    settings: dict[str, Any] = {}
    reasons: dict[str, str] = {}


class ErrorPart(msgspec.Struct, frozen=True):
    type: str = ""
    message: str = ""


class MemoryPart(msgspec.Struct, frozen=True):
    ram_peak_bytes: int | None = None
    cuda_peak_bytes: int | None = None


class RecordPart(msgspec.Struct, frozen=True, kw_only=True):
    """What a table needs of record.json; only ``dataset``, ``scene`` and ``model`` (or ``label``) must be there."""

    dataset: str
    scene: str
    model: str = ""
    label: str = ""
    encoding: str = ""
    loss: str = ""
    seed: int | None = None
    status: Status = "finished"
    run_key: str = ""
    name: str | None = None
    steps_done: int = 0
    max_steps: int = 0
    config: dict[str, Any] = {}
    overrides: list[str] = []
    scores: ScorePart | None = None
    times: Times = msgspec.field(default_factory=Times)
    memory: MemoryPart = msgspec.field(default_factory=MemoryPart)
    device: str = ""
    backend: str = ""
    code_hash: str = ""
    error: ErrorPart | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One record and where it lies (``folder`` as it was found)."""

    folder: str
    record: RecordPart

    @property
    def external(self) -> bool:
        """Another program's method: its training code and settings are not in the record.

        scripts/evaluate.py says so by its backend, a record written by hand by leaving them out.
        """
        r = self.record
        return r.backend == "external" or (not r.code_hash and not r.config)

    @property
    def code(self) -> str:
        """Hash of the numerical code that trained it; that of an external record is only its scorer's."""
        return "" if self.external else self.record.code_hash

    @property
    def scored(self) -> bool:
        return self.record.status == "finished" and self.record.scores is not None

    def get(self, key: str) -> Any:
        """The value of a field or of a dotted config key, hashable; None where it is not there."""
        r = self.record
        if key in ("model", "label"):  # whoever gives one of them has the other called so, too
            return getattr(r, key) or r.model or r.label
        if key in OWN:
            return getattr(r, key)
        if key in FURTHER:
            if key == "protocol":
                return r.scores.protocol if r.scores is not None else None
            return r.device if key == "device_name" else self.code or None if key == "code_hash" else r.name
        return hashable(lookup(r.config, key))

    def why_not(self) -> tuple[str, str]:
        """State and cause of a run that gave no scores."""
        r = self.record
        if r.status == "finished":
            return "failed", "its record is finished and holds no scores"
        step = f" at step {r.steps_done} of {r.max_steps}" if r.max_steps else ""
        if r.status == "running" and not holder_is_alive(Path(self.folder)):
            return "lost", f"its process is gone and left no word{step}"
        if r.error is None or r.status == "running":
            return r.status, f"{r.status}{step}"
        return (
            r.status,
            f"{r.status}{step}: {r.error.type}: {(r.error.message.splitlines() or [''])[0][:200]}",
        )


@dataclass
class Collection:
    """What was found. ``broken``: file -> what is wrong with it. ``absent``: planned runs without a record -> why."""

    runs: list[Run] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    doubles: int = 0
    """Records of a run that was found twice (same key): one of them counts."""


_DECODER = msgspec.json.Decoder(RecordPart)


def collect(sources: Sequence[str], root: Path) -> Collection:
    """All records of the sources, each a folder, a record.json or the name of a sweep below ``root`` (run.root).

    A name that is both is the sweep; ``./name`` is the folder. Raises ReportError for a source that is neither.
    """
    found = Collection()
    below_root: Collection | None = None
    for source in sources:
        folder = Path(source).parent if Path(source).name == RECORD_FILE else Path(source)
        sweeps = sweep_names(sweeps_root(root)) if "/" not in source else []
        if source not in sweeps and folder.is_dir():
            _add(found, read_folder(folder))
            continue
        below_root = below_root or read_folder(root)
        part = _sweep(source, root, below_root)
        if part is None:
            named = {r.record.name for r in below_root.runs if r.record.name} | set(sweeps)
            raise ReportError(
                f"{source!r} is neither a folder nor a sweep beside {root}.{near(source, named)} "
                f"Sweeps: {', '.join(sorted(named)[-20:]) or 'none'}"
            )
        _add(found, part)
    found.runs, found.doubles = _once(found.runs)
    return found


def read_folder(root: Path) -> Collection:
    """Every record below a folder; a broken one costs only itself."""
    found = Collection()
    for folder in record_folders(str(root)):
        path = f"{folder}/{RECORD_FILE}"
        try:
            with open(path, "rb") as file:
                data = file.read()
            found.runs.append(Run(folder, parse(data)))
        except FileNotFoundError:
            continue  # moved aside since the folder was listed
        except (ValueError, OSError) as error:
            found.broken[path] = str(error)
    return found


def parse(data: bytes) -> RecordPart:
    """A record from JSON; NaN and Infinity, which JSON does not have and Python writes, are understood.

    Raises ValueError (msgspec's ValidationError is one) with what is wrong.
    """
    try:
        part = _DECODER.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        part = msgspec.convert(json.loads(data), RecordPart)
    if not part.model and not part.label:
        raise ValueError("it names neither a `model` nor a `label`: say whose numbers these are")
    return part


def _sweep(name: str, root: Path, known: Collection) -> Collection | None:
    """The runs of a sweep: what its launches list, and what says that it belongs to it; None for no such sweep."""
    keys: set[str] = set()
    absent: dict[str, str] = {}
    broken = dict(known.broken)
    have = {r.record.run_key for r in known.runs}
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
        except ValueError as error:
            cause = str(error)
        key = (outcome.key if outcome is not None else None) or job.key or ""
        if key in have:
            keys.add(key)
            continue
        if outcome is not None:
            cause = outcome.status
            if outcome.error is not None:
                cause += f": {outcome.error.type}: {(outcome.error.message.splitlines() or [''])[0][:200]}"
        absent[job.title or " ".join(job.overrides) or f"{launch.sweep} {job.number}"] = cause
    runs = [r for r in known.runs if r.record.run_key in keys or r.record.name == name]
    if not runs and not launches:
        return None
    return Collection(runs, broken, absent)


def _add(found: Collection, part: Collection) -> None:
    found.runs += part.runs
    found.broken |= part.broken
    found.absent |= part.absent


def _once(runs: Sequence[Run]) -> tuple[list[Run], int]:
    """Each folder and each run key once: the finished one, of two finished ones the later.

    External records count by their folder: their key does not tell apart a mesh and renders of one method.
    """
    kept: dict[str, Run] = {}
    doubles = 0
    for run in runs:
        key = run.record.run_key
        if not key or run.external:
            key = os.path.realpath(run.folder)
        other = kept.get(key)
        if other is not None and other.folder != run.folder:
            doubles += 1
        if other is None or _rank(run) > _rank(other):
            kept[key] = run
    return list(kept.values()), doubles


def _rank(run: Run) -> tuple[bool, str]:
    return run.scored, run.record.times.finished or ""


def where(runs: Sequence[Run], conditions: Sequence[tuple[str, str]]) -> list[Run]:
    """The runs whose keys have the wanted values (fields.means); several values of one key are alternatives."""
    wanted: dict[str, list[str]] = {}
    for key, value in conditions:
        wanted.setdefault(key, []).append(value)
    return [r for r in runs if all(any(means(r.get(k), v) for v in vs) for k, vs in wanted.items())]
