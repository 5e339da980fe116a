"""metrics.jsonl: the log of a run's scalars, which is appended to and never rewritten."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isosweep.errors import InputError
from isosweep.runtime.files import atomic_write_bytes, storage_error, write_all


class MetricsWriter:
    """metrics.jsonl: one JSON object a line, ``step`` first and the wall clock in ``time_s`` last.

    Everything but ``time_s`` is a function of the config, so the file of an interrupted and
    resumed run equals an uninterrupted run's. Lines are flushed to the kernel one by one: they
    outlive a killed process; ``sync`` makes them outlive the machine.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            os.ftruncate(self._fd, _whole(path.read_bytes()))
        except OSError as error:
            raise storage_error(error, path) from error

    def write(self, step: int, scalars: Mapping[str, float], time_s: float) -> None:
        values = {k: _number(v) for k, v in scalars.items()}
        line = json.dumps({"step": step, **values, "time_s": round(time_s, 3)})
        start = os.fstat(self._fd).st_size
        try:
            write_all(self._fd, line.encode() + b"\n")
        except OSError as error:
            os.ftruncate(self._fd, start)  # half a line would swallow the next one
            raise storage_error(error, self.path) from error

    def truncate_after(self, step: int) -> int:
        """Drop lines whose step is larger: they belong to work that is done again. Returns how many."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if _parse(line, self.path)["step"] <= step]
        if len(kept) < len(lines):
            os.close(self._fd)
            atomic_write_bytes(self.path, b"".join(kept))
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND)
        return len(lines) - len(kept)

    def sync(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def close(self) -> None:
        os.close(self._fd)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """All whole lines of a metrics.jsonl; a last line that was cut off by a kill is dropped."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"no metrics at {path}: the run has not logged a step yet") from None
    return [_parse(line, path) for line in data[: _whole(data)].splitlines()]


def objective(folder: Path) -> float:
    """The last validation PSNR (dB) in a run's metrics, what a sweeper gets; nan where there was no validation."""
    path = folder / "metrics.jsonl"
    lines = read_metrics(path) if path.is_file() else []
    found = [line["val/psnr"] for line in lines if "val/psnr" in line]
    return float(found[-1]) if found else math.nan


def _whole(data: bytes) -> int:
    """Length of ``data`` up to the end of its last whole line."""
    return data.rfind(b"\n") + 1


def _parse(line: bytes, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(line)
        int(values["step"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} has a line that is no metrics ({line[:80]!r}: {error}): remove that line, or move the "
            "run folder aside and train again"
        ) from error
    return {k: float(v) if isinstance(v, str) else v for k, v in values.items()}


def _number(value: float) -> float | str:
    """JSON has no NaN: non-finite numbers are words that ``float`` reads back."""
    value = float(value)
    return value if math.isfinite(value) else str(value)
