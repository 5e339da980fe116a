"""The record of a run: its key, its folder, the lock on it, record.json and the log of metrics.

May import: errors, runtime.
It needs the standard library and msgspec, and nothing else.
"""

from isosweep.record.folder import (
    CHECKPOINTS,
    Plan,
    checkpoint_path,
    find_runs,
    kept_steps,
    known_key,
    run_folder,
)
from isosweep.record.key import run_key, score_key
from isosweep.record.lock import Lock, LockHeld, LockLost, read_holder
from isosweep.record.metrics import read_metrics
from isosweep.record.run import RunRecord
from isosweep.record.schema import Git, Memory, Record, ScoreRecord, Times, TrackerRecord, read_record

__all__ = [
    "CHECKPOINTS",
    "Git",
    "Lock",
    "LockHeld",
    "LockLost",
    "Memory",
    "Plan",
    "Record",
    "RunRecord",
    "ScoreRecord",
    "Times",
    "TrackerRecord",
    "checkpoint_path",
    "find_runs",
    "kept_steps",
    "known_key",
    "read_holder",
    "read_metrics",
    "read_record",
    "run_folder",
    "run_key",
    "score_key",
]
