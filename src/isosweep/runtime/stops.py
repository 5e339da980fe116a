"""Why a launcher stops its runs: one word in a file of the launch's folder, which they read when SIGTERM arrives.

A signal carries no reason: runs get the same SIGTERM after Ctrl-C on their launcher, after ``runs.py cancel``, and from
SLURM before a preemption. The word is written before the first signal is sent.
"""

import os
from pathlib import Path
from typing import Literal

from isosweep.runtime.files import atomic_write_text

OUTCOME = "ISOSWEEP_OUTCOME"
"""The environment variable with the path of a job's outcome file, which lies in its launch's folder."""
STOP_FILE = "stopped"

Stop = Literal["interrupted", "cancelled"]
_STOPS: tuple[Stop, ...] = ("interrupted", "cancelled")


def write_stop(launch: Path, why: Stop) -> bool:
    """Say why the runs of a launch are stopped, unless somebody has: the first word stays. Raises OSError.

    Returns: whether the word was written.
    """
    if read_stop(launch) is not None:
        return False
    atomic_write_text(launch / STOP_FILE, f"{why}\n")
    return True


def read_stop(launch: Path) -> Stop | None:
    """Why the runs of a launch were stopped; None where nobody has said it."""
    try:
        word = (launch / STOP_FILE).read_bytes().decode(errors="replace").strip()
    except OSError:
        return None  # without the file, or without its folder, nobody has said anything
    return next((stop for stop in _STOPS if stop == word), None)


def own_stop() -> Stop | None:
    """Why the launcher of this process stops it; None without a launcher, or where it has not said."""
    outcome = os.environ.get(OUTCOME)
    return read_stop(Path(outcome).parent) if outcome else None
