"""Reads metrics.jsonl and shortens its curves for drawing."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.errors import InputError
from isosweep.record.reading import json_values
from isosweep.report.browse.guard import regular

MOST_STEPS = 1e15
"""A line with a step that is no number below this is left out."""
DIGITS = 5
"""Significant digits of a value on the page."""
STEP = "step"
CLOCK = "time_s"


def read_curves(path: Path, points: int) -> tuple[dict[str, dict[str, list[Any]]], str]:
    """Read a run's curves. Returns them by metric, and a message about lines that could not be read ('' if none).

    A curve is {"x": steps, "t": seconds, or empty if unknown, "y": values, None for one that is not finite}. Lines that
    are no JSON objects are left out; a killed run may end with one. If a resumed run logged a step twice, the later
    value counts. A curve of more than ``points`` points is cut into ``points`` / 2 equal parts, and of each part the
    lowest and the highest point are kept, so that spikes stay visible.
    """
    try:
        lines = regular(path).read_bytes().splitlines()
    except FileNotFoundError:
        return {}, ""
    except (OSError, InputError) as error:
        return {}, f"{path.name} cannot be read: {error}"
    series: dict[str, dict[float, tuple[float, float]]] = {}
    bad = 0
    for line in lines:
        try:
            entry = json_values(line)
            step = _float(entry[STEP])
            if not abs(step) < MOST_STEPS:
                raise ValueError(step)
        except (ValueError, KeyError, TypeError):
            bad += bool(line.strip())
            continue
        clock = entry.get(CLOCK)
        clock = _float(clock) if isinstance(clock, int | float) and clock < MOST_STEPS else math.nan
        for key, value in entry.items():
            if key in (STEP, CLOCK) or isinstance(value, bool):
                continue
            try:
                number = _float(value)  # NaN and infinities are written as text: JSON does not have them
            except (ValueError, TypeError):
                number = math.nan
            series.setdefault(key, {})[step] = (number, clock)
    made = {key: _shorten(values, points) for key, values in series.items()}
    return made, f"{bad} lines of {path.name} are no JSON with a step and are left out" if bad else ""


def _shorten(values: dict[float, tuple[float, float]], points: int) -> dict[str, list[Any]]:
    x = np.array(sorted(values))
    y, t = np.array([values[s] for s in x]).T
    if len(x) > points:
        keep = {0, len(x) - 1}
        for part in np.array_split(np.arange(len(x)), max(1, points // 2)):
            finite = part[np.isfinite(y[part])]
            ends = (np.argmin, np.argmax) if len(finite) else ()
            keep |= {int(finite[end(y[finite])]) for end in ends} or {int(part[0])}
        chosen = np.array(sorted(keep))
        x, y, t = x[chosen], y[chosen], t[chosen]
    return {
        "x": [int(v) if v == int(v) else float(v) for v in x],
        "t": [] if not np.isfinite(t).all() else [_number(v) for v in t],
        "y": [_number(v) for v in y],
    }


def _float(value: Any) -> float:
    """The number; ValueError or TypeError for what is none. A whole number that no float holds is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _number(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
