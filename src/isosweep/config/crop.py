"""The box that an exported mesh is cropped to (``export.crop``): six numbers, or a json with them.

All lengths are in normalised scene units, in which the scene's box is [-r, r]^3. Without torch.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isosweep.errors import InputError
from isosweep.runtime.files import atomic_write_text
from isosweep.runtime.number import is_number

Box = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Two corners, the lower one first."""
FILE = "crop.json"
"""Name of the file that the viewer writes into a run's folder."""
HOW = "give six numbers [x0,y0,z0,x1,y1,z1] with the lower corner first, or the json that the viewer has written"


def box_of(value: Any) -> Box | None:
    """The box that ``export.crop`` names; None if it is None.

    Args:
        value: six numbers, two corners of three numbers, or the path of a json {"low": [x, y, z], "high": [x, y, z]}.

    Raises:
        InputError: there is no such file, or it is no box.
    """
    if value is None:
        return None
    where = f"export.crop={value}"
    if isinstance(value, str):
        value = _of_file(Path(value), where)
    numbers = _flat(value)
    if len(numbers) != 6 or not all(is_number(x) for x in numbers):
        raise InputError(f"{where} is no box: {HOW}")
    low, high = numbers[:3], numbers[3:]
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise InputError(f"{where}: the box from {low} to {high} has no inside: {HOW}")
    return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))


def write(path: Path, box: Box) -> None:
    """Write a box as a json that ``export.crop`` reads."""
    low, high = ([round(x, 6) for x in corner] for corner in box)
    atomic_write_text(path, json.dumps({"low": low, "high": high, "unit": "normalised"}, indent=1) + "\n")


def _of_file(path: Path, where: str) -> list[Any]:
    if not path.is_file():
        raise InputError(f"{where}: there is no such file: {HOW}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [found["low"], found["high"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f'{where} is not a json with "low" and "high" ({type(error).__name__}: {error}): {HOW}'
        ) from error


def _flat(value: Any, levels: int = 3) -> list[Any]:
    if levels and isinstance(value, Sequence) and not isinstance(value, str):
        return [x for item in value for x in _flat(item, levels - 1)]
    return [value]
