"""metrics.jsonl: the log of a run's scalars, which is appended to and never rewritten."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from isosweep.errors import InputError
from isosweep.record.reading import Unreadable, decoded
from isosweep.runtime.files import BINARY, atomic_write_bytes, storage_error, write_all


class MetricsWriter:
    """Writes metrics.jsonl: one JSON object per line, ``step`` first and the run's seconds in ``time_s`` last.

    Everything but ``time_s`` follows from the config, so a run that was interrupted and resumed has the same file as
    one that was not. But which steps have ``val/geometry/*`` depends on the time that meshes may take. Each line is
    written to the kernel at once and survives a killed process; ``sync`` makes all lines survive a crash of the
    machine.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, 0o666)
            os.ftruncate(self._fd, _whole_lines_end(path.read_bytes()))
        except OSError as error:
            raise storage_error(error, path) from error

    def write(self, step: int, scalars: Mapping[str, float], time_s: float) -> None:
        """Append one line. Raises OSError, after removing the part that was written."""
        values = {k: _number(v) for k, v in scalars.items()}
        line = json.dumps({"step": step, **values, "time_s": round(time_s, 3)})
        start = os.fstat(self._fd).st_size
        try:
            write_all(self._fd, line.encode() + b"\n")
        except OSError as error:
            os.ftruncate(self._fd, start)  # the next line would be appended to half a line
            raise storage_error(error, self.path) from error

    def truncate_after(self, step: int) -> int:
        """Drop the lines after ``step``, whose training is repeated. Returns how many they were."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        kept = [line for n, line in enumerate(lines, 1) if _parse(line, self.path, n)["step"] <= step]
        if len(kept) < len(lines):
            os.close(self._fd)
            atomic_write_bytes(self.path, b"".join(kept))
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | BINARY)
        return len(lines) - len(kept)

    def sync(self) -> None:
        """Force all lines to the disk. Raises OSError."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def close(self) -> None:
        """Close the file; nothing can be written afterwards."""
        os.close(self._fd)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """All whole lines of a metrics.jsonl. A last line that a kill cut off is dropped.

    Raises FileNotFoundError if there is no file, ValueError for a line that is no metrics.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"no metrics at {path}: the run has not logged a step yet") from None
    return [_parse(line, path, n) for n, line in enumerate(data[: _whole_lines_end(data)].splitlines(), 1)]


VALIDATION = "val/psnr"
TRAINING_VIEWS = "train/views_psnr"
"""Logged once, after the training of a run that has no validation views."""


def objective(folder: Path) -> float:
    """The sweeper's objective, in dB: the last validation PSNR in a run's metrics, without any that of training views.

    nan where the metrics have neither.
    """
    return _last(folder, VALIDATION, TRAINING_VIEWS)


def validated(folder: Path) -> bool:
    """Whether a run has scored validation views."""
    return math.isfinite(_last(folder, VALIDATION))


def _last(folder: Path, *names: str) -> float:
    """The last value of the first of ``names`` that a run's metrics have; nan if they have none."""
    path = folder / "metrics.jsonl"
    lines = read_metrics(path) if path.is_file() else []
    for name in names:
        if found := [line[name] for line in lines if name in line]:
            return float(found[-1])
    return math.nan


def _whole_lines_end(data: bytes) -> int:
    """Length of ``data`` up to the end of its last whole line."""
    return data.rfind(b"\n") + 1


_EXACT = 2**53
_LINE = msgspec.json.Decoder(dict[str, int | float | str])


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """The values of one line, the ``number``-th of the file. Raises ValueError for a line that is no metrics."""
    try:
        return decoded(line, _values)
    except Unreadable as error:
        shown = repr(line[:80])
        raise InputError(
            f"{path} has a line that is no metrics (line {number}, {shown}: {error}): remove that line, or move the "
            "run folder aside and train again"
        ) from error


def _values(line: bytes) -> dict[str, Any]:
    values: dict[str, Any] = _LINE.decode(line)
    if not isinstance(values.get("step"), int):
        raise ValueError("it has no whole number as its step")
    # float() refuses text that is no number, and whole numbers that no float holds
    return {k: v if isinstance(v, int) and abs(v) < _EXACT else float(v) for k, v in values.items()}


def _number(value: float) -> float | str:
    """The number, or text that ``float`` can read if it is not finite: JSON has no NaN."""
    value = float(value)
    return value if math.isfinite(value) else str(value)
