"""``progress.json``: how far a run at work is, for tables that other processes draw.

It is a note of the moment. The record and the metrics are what counts, and the file goes when the run ends.
"""

import contextlib
import os
from pathlib import Path

import msgspec

from isosweep.record.reading import Unreadable, decoded
from isosweep.record.writing import encoded
from isosweep.runtime.files import storage_error

PROGRESS_FILE = "progress.json"


class ProgressNote(msgspec.Struct, frozen=True, kw_only=True):
    """What a run at work is doing."""

    what: str
    """In words: 'training', 'scoring views'."""
    done: int = 0
    total: int = 0
    """0 where it is not known."""
    step: int = 0
    max_steps: int = 0
    left_s: float | None = None
    """Seconds until this part is over."""
    rays_per_s: float | None = None
    """In training, since the previous line of the log."""
    val_psnr: float | None = None
    """Of the newest validation, in dB."""


_DECODER = msgspec.json.Decoder(ProgressNote)


def write_progress(folder: Path, note: ProgressNote) -> None:
    """Replace the note. It is not synchronised with the disk: a crash may lose it, and nothing needs it."""
    temporary = folder / f".{PROGRESS_FILE}.tmp"  # one writer: it holds the run's lock
    try:
        temporary.write_bytes(encoded(note))
        os.replace(temporary, folder / PROGRESS_FILE)
    except OSError as error:
        raise storage_error(error, folder / PROGRESS_FILE) from error


def remove_progress(folder: Path) -> None:
    """Remove the note of a run that is over. A disk that cannot be written keeps it; what ended the run is told."""
    with contextlib.suppress(OSError):
        (folder / PROGRESS_FILE).unlink(missing_ok=True)


def read_progress(folder: Path) -> ProgressNote | None:
    """The newest note; None if there is none that can be read."""
    try:
        return decoded((folder / PROGRESS_FILE).read_bytes(), _DECODER.decode)
    except (FileNotFoundError, Unreadable):
        return None
