"""Closes the record of a run whose process died before it could (SIGKILL, the out-of-memory killer, a crash)."""

from pathlib import Path

import msgspec

from isosweep.record.lock import Lock, LockHeld
from isosweep.record.reading import newer
from isosweep.record.schema import RECORD_FILE, ErrorRecord, Record, Status, encode_record, read_record
from isosweep.runtime.files import atomic_write_bytes


def close_abandoned(folder: Path, status: Status, error: ErrorRecord, *, pid: int | None = None) -> bool:
    """Set status and error of a record that still says 'running'. Returns whether it was changed.

    The run's lock is taken first, so that a run that was resumed meanwhile is left alone. With ``pid``, only an
    attempt of that process on this machine is closed.

    Raises ValueError for an unreadable record, OSError where the record cannot be written.
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
        if not mine or record.status != "running" or newer(record.schema_version) is not None:
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
