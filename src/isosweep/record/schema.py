"""What record.json holds. Units are in the names; times of day are ISO 8601 in UTC.

Reading ignores fields it does not know and fills in fields that are missing, so records of
earlier and later versions stay readable.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from isosweep.errors import InputError

SCHEMA_VERSION = 1
RECORD_FILE = "record.json"

Status = Literal["queued", "running", "finished", "failed", "preempted", "timeout", "oom"]


class ScoreRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``types.Scores`` without torch: numbers under a named protocol; None has its reason."""

    protocol: str
    values: dict[str, float | None] = {}
    per_view: dict[str, dict[str, float | None]] = {}
    settings: dict[str, Any] = {}
    reasons: dict[str, str] = {}


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Durations are sums over all attempts; of a killed attempt up to its last checkpoint."""

    started: str | None = None
    """First start of this run."""
    updated: str | None = None
    """Last write of the record."""
    finished: str | None = None
    total_s: float = 0.0
    load_s: float = 0.0
    train_s: float = 0.0
    eval_s: float = 0.0
    export_s: float = 0.0


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    ram_peak_bytes: int | None = None
    """Peak resident size of the process, everything it did before this run included."""
    cuda_peak_bytes: int | None = None


class Git(msgspec.Struct, frozen=True, kw_only=True):
    sha: str | None = None
    dirty: bool | None = None
    diff: str | None = None
    """Name of the file in the run folder that holds the uncommitted changes."""
    reason: str | None = None
    """Why there is no sha."""


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    message: str
    traceback: str
    hint: str | None = None


class TrackerRecord(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    id: str | None = None
    url: str | None = None
    degraded: str | None = None
    """Why the tracker's copy is incomplete; None where it is whole."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One start of the run: where, with which code, from which step, how it ended."""

    action: str
    started: str
    host: str
    pid: int
    job: str | None = None
    code_hash: str | None = None
    git_sha: str | None = None
    from_step: int = 0
    status: Status = "running"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a table or a page needs to know about one run."""

    schema_version: int = SCHEMA_VERSION
    run_key: str
    name: str | None = None
    """Sweep or study; no part of the key."""
    dataset: str
    scene: str
    label: str
    model: str = ""
    encoding: str = ""
    loss: str = ""
    seed: int
    status: Status
    trained: bool = False
    """Training reached its last step; what is left to do is scoring and export."""
    steps_done: int = 0
    max_steps: int = 0
    config: dict[str, Any] = {}
    overrides: list[str] = []
    scores: ScoreRecord | None = None
    scores_of: str | None = None
    """The checkpoint the scores belong to: 'last' or 'best'."""
    artifacts: dict[str, str] = {}
    """What -> path, relative to the run folder."""
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


def encode_record(record: Record) -> bytes:
    """Readable JSON, two blanks of indent, a final newline."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def read_record(path: Path) -> Record:
    """The record at ``path``: record.json itself or the run folder that holds it."""
    file = path / RECORD_FILE if path.is_dir() else path
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no record at {file}: a run folder holds {RECORD_FILE}; check the path, or train the run first"
        ) from None
    try:
        return msgspec.json.decode(data, type=Record)
    except msgspec.DecodeError as error:
        raise InputError(
            f"{file} is not a run record ({error}; {len(data)} bytes): restore it, or move the run "
            "folder aside and start the run again"
        ) from error
