"""Closing the record of a run whose process died without a word (SIGKILL, the out-of-memory killer, a crash)."""

from pathlib import Path

import msgspec

from isosweep.record.lock import Lock, LockHeld
from isosweep.record.schema import RECORD_FILE, ErrorRecord, Record, Status, encode_record, read_record
from isosweep.runtime.files import atomic_write_bytes


def close_abandoned(folder: Path, status: Status, error: ErrorRecord, *, pid: int | None = None) -> bool:
    """Give a record that still says 'running' its true end; False where there was nothing to close.

    Takes the lock first, so that a run which somebody has resumed meanwhile is left alone. With ``pid``
    only the attempt of that process on this machine is closed.
    """
    if not (folder / RECORD_FILE).exists():
        return False
    try:
        lock = Lock(folder).acquire()
    except LockHeld:
        return False
    try:
        record = read_record(folder)
        last = record.attempts[-1] if record.attempts else None
        mine = pid is None or (last is not None and last.pid == pid and last.host == lock.holder.host)
        if not mine or record.status != "running":
            return False
        atomic_write_bytes(folder / RECORD_FILE, encode_record(_ended(record, status, error)))
        return True
    finally:
        lock.release()


def _ended(record: Record, status: Status, error: ErrorRecord) -> Record:
    attempts = list(record.attempts)
    if attempts:
        attempts[-1] = msgspec.structs.replace(attempts[-1], status=status)
    return msgspec.structs.replace(record, status=status, error=error, attempts=attempts)
