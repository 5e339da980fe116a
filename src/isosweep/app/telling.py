"""Tells how far a run is: in its log while it is scored and exported, and in a note for tables of runs."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from isosweep.record import RunRecord
from isosweep.record.progress import ProgressNote, remove_progress, write_progress
from isosweep.runtime import progress
from isosweep.runtime.progress import TRAINING, Progress, clock

log = logging.getLogger("isosweep")

LINE_S = 10.0
"""Seconds between two lines about one part of the work."""
NOTE_S = 1.0
"""Seconds between two notes in the run's folder."""


@contextmanager
def told(record: RunRecord) -> Iterator[None]:
    """Have all that is told inside the ``with`` statement logged, and noted in the run's folder."""
    remove_progress(record.folder)  # of a start that was killed
    try:
        with progress.heard_by(Teller(record)):
            yield
    finally:
        remove_progress(record.folder)


class Lines:
    """A listener of `isosweep.runtime.progress` that logs a line about what takes long. Training logs its own.

    Args:
        each: log a line when a part begins, too.
    """

    def __init__(self, each: bool = False) -> None:
        self._each = each
        self._what = ""
        self._line = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        begins, over = progress.what != self._what, 0 < progress.total == progress.done
        self._what = progress.what
        if progress.what != TRAINING and ((begins and self._each) or now - self._line >= LINE_S) and not over:
            log.info("%s", line(progress))
            self._line = now


class Teller(Lines):
    """Of a run: it logs a line about each part, and notes how far it is in the run's folder."""

    def __init__(self, record: RunRecord) -> None:
        super().__init__(each=True)
        self._record = record
        self._psnr: float | None = None
        self._note = 0.0

    def __call__(self, progress: Progress) -> None:
        now, new = time.monotonic(), progress.what != self._what
        super().__call__(progress)
        self._psnr = self._psnr if progress.val_psnr is None else progress.val_psnr
        if new or progress.val_psnr is not None or now - self._note >= NOTE_S:
            self._write(progress)
            self._note = now

    def _write(self, progress: Progress) -> None:
        self._record.check()
        note = ProgressNote(
            what=progress.what,
            done=progress.done,
            total=progress.total,
            step=self._record.record.steps_done,
            max_steps=self._record.record.max_steps,
            left_s=progress.left_s,
            rays_per_s=progress.rays_per_s,
            val_psnr=self._psnr,
        )
        write_progress(self._record.folder, note)


def line(progress: Progress) -> str:
    """'scoring views 12/49  ETA 3:10'."""
    count = f" {progress.done}/{progress.total}" if progress.total else ""
    eta = "" if progress.left_s is None else f"  ETA {clock(progress.left_s)}"
    return f"{progress.what}{count}{eta}"
