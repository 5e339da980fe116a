"""The record of a run: its key, folder, lock, record.json and metrics, with the standard library and msgspec only.

May import: errors.
"""

from isosweep.record.failure import RunPreempted, RunTimeout
from isosweep.record.files import atomic_write_bytes, atomic_write_text, read_metrics
from isosweep.record.folder import CHECKPOINTS, Plan, find_runs, known_key, run_folder
from isosweep.record.key import run_key, score_key
from isosweep.record.lock import Lock, LockHeld, LockLost, read_holder
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
    "RunPreempted",
    "RunRecord",
    "RunTimeout",
    "ScoreRecord",
    "Times",
    "TrackerRecord",
    "atomic_write_bytes",
    "atomic_write_text",
    "find_runs",
    "known_key",
    "read_holder",
    "read_metrics",
    "read_record",
    "run_folder",
    "run_key",
    "score_key",
]
