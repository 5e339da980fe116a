"""The fields of record.json. Names end in their unit (``_s``, ``_bytes``); times of day are ISO 8601 text in UTC.

Unknown fields are ignored and missing ones get their default, so records of earlier versions can be read, and of those
of later versions what is known here. Those are never written (``folder.decide`` refuses them).
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from isosweep.errors import InputError
from isosweep.record.reading import SCHEMA_VERSION, Unreadable, decoded, unreadable
from isosweep.record.writing import encoded

RECORD_FILE = "record.json"

Status = Literal[
    "queued", "running", "finished", "failed", "oom", "preempted", "interrupted", "cancelled", "timeout"
]
"""'preempted': told to make room; 'interrupted': by Ctrl-C, or its launcher's; 'cancelled': by ``runs.py cancel``."""
STOPPED: tuple[Status, ...] = ("preempted", "interrupted", "cancelled", "timeout")
"""States of a run that was told to end. The same command goes on from its last checkpoint."""


class ScoreRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Scores under a named protocol. A value that is None has its cause under the same name in ``reasons``."""

    protocol: str
    values: dict[str, float | None] = {}
    per_view: dict[str, dict[str, float | None]] = {}
    settings: dict[str, Any] = {}
    reasons: dict[str, str] = {}


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in seconds, summed over all attempts. A killed attempt counts up to its last checkpoint."""

    started: str | None = None
    """First start of this run."""
    updated: str | None = None
    """Last write of the record."""
    finished: str | None = None
    total_s: float = 0.0
    load_s: float = 0.0
    train_s: float = 0.0
    pictures_s: float = 0.0
    """Of ``train_s``, for pictures while it trains."""
    val_mesh_s: float = 0.0
    """Of ``train_s``, for meshes at validation steps and their scores."""
    view_s: float = 0.0
    """What pictures and pauses of a viewer took during the training; no part of ``train_s``."""
    eval_s: float = 0.0
    export_s: float = 0.0


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Peaks of memory over all attempts."""

    ram_peak_bytes: int | None = None
    """Peak resident size of the process, including what it did before this run."""
    cuda_peak_bytes: int | None = None


class Git(msgspec.Struct, frozen=True, kw_only=True):
    """The git commit of the source tree, and whether it had uncommitted changes (``dirty``)."""

    sha: str | None = None
    dirty: bool | None = None
    diff: str | None = None
    """Name of the file in the run folder that holds the uncommitted changes."""
    reason: str | None = None
    """Why there is no sha."""


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The error that ended a run."""

    type: str
    message: str
    traceback: str
    hint: str | None = None


class TrackerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A tracker that this run was logged to."""

    name: str
    id: str | None = None
    url: str | None = None
    degraded: str | None = None
    """Why the tracker's copy of the run is incomplete; None if it is complete."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One start of the run: on which machine, with which code, from which step, and how it ended."""

    action: str
    started: str
    host: str
    pid: int
    job: str | None = None
    code_hash: str | None = None
    git_sha: str | None = None
    from_step: int = 0
    status: Status = "running"
    error: str | None = None
    """Type and first line of the error that ended it, where the run stayed finished all the same."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known about one run; record.json holds it."""

    schema_version: int = SCHEMA_VERSION
    run_key: str
    name: str | None = None
    """The sweep or study; not part of the run key."""
    dataset: str
    scene: str
    label: str
    model: str = ""
    encoding: str = ""
    loss: str = ""
    seed: int
    status: Status
    trained: bool = False
    """Whether training has reached its last step, so that only scoring and export may be left."""
    steps_done: int = 0
    max_steps: int = 0
    config: dict[str, Any] = {}
    overrides: list[str] = []
    scores: ScoreRecord | None = None
    scores_of: str | None = None
    """The checkpoint that was scored: 'last' or 'best'."""
    artifacts: dict[str, str] = {}
    """Exported file -> its path, relative to the run folder."""
    times: Times = msgspec.field(default_factory=Times)
    memory: Memory = msgspec.field(default_factory=Memory)
    device: str = ""
    """Name of the device, e.g. the GPU's."""
    backend: str = ""
    backend_reason: str = ""
    threads: int = 0
    versions: dict[str, str] = {}
    git: Git = msgspec.field(default_factory=Git)
    code_hash: str = ""
    """Hash of the package's numerical code that trained this run."""
    tracker: TrackerRecord | None = None
    """The first of ``trackers``."""
    trackers: list[TrackerRecord] = []
    error: ErrorRecord | None = None
    attempts: list[Attempt] = []


_DECODER = msgspec.json.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """The record as JSON of this version, indented by two blanks, with a final newline."""
    record = msgspec.structs.replace(record, schema_version=SCHEMA_VERSION)
    return msgspec.json.format(encoded(record), indent=2) + b"\n"


def read_record(path: Path) -> Record:
    """Read the record at ``path``, which is a record.json or the run folder that holds it.

    Raises FileNotFoundError if there is none, ValueError if it is not a run record.
    """
    file = path / RECORD_FILE if path.is_dir() else path
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no record at {file}: a run folder holds {RECORD_FILE}; check the path, or train the run first"
        ) from None
    try:
        return decoded(data, _DECODER.decode)
    except Unreadable as error:
        raise InputError(
            f"{file} is not a run record ({unreadable(data, error)}; {len(data)} bytes): restore it, or move the run "
            "folder aside and start the run again"
        ) from error
