"""Small text files of other people: a list of names, a matrix, a json. One that is none is refused by its size."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from isosweep.errors import InputError
from isosweep.runtime.nested import nested_too_deeply

MOST_BYTES = 1 << 26
"""Of a text; a list of a million names has a third of it."""
MATRIX_BYTES = 1 << 16


def read_small(file: Path, what: str, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file.

    Args:
        what: what it should hold, in words.

    Raises:
        InputError: it is a folder, a pipe or a device, cannot be read, or has more than ``most`` bytes.
    """
    try:
        if not file.is_file():
            raise InputError(f"{file} should hold {what} and is {'a folder' if file.is_dir() else 'no file'}")
        size = file.stat().st_size
        with file.open("rb") as opened:
            data = opened.read(min(size, most) + 1)  # which is allocated at once
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {what} in {file}: {error}") from error
    if len(data) > most:
        raise InputError(
            f"{file} should hold {what} and has {size} bytes, more than {most}: is it another file?"
        )
    return data


def read_text(file: Path, what: str, most: int = MOST_BYTES) -> str:
    """A text of UTF-8, with or without byte order mark; other bytes are read as Python reads names of files."""
    return read_small(file, what, most).decode("utf-8-sig", errors="surrogateescape")


def read_json(file: Path, what: str, most: int = MOST_BYTES) -> Any:
    """The values of a json.

    Raises:
        InputError: as `read_small`; or it is no json, or is nested too deeply.
    """
    try:
        return json_of(read_small(file, what, most))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{file} is no json, and should hold {what} ({error}): export it again") from error


def json_of(data: bytes) -> Any:
    """The values of a json, whose encoding json finds; a byte order mark is skipped. Raises ValueError."""
    if nested_too_deeply(data):
        raise ValueError("its lists and mappings are nested too deeply")
    return json.loads(data, parse_int=_int)


def _int(digits: str) -> int | float:
    """A whole number; one that no float holds is infinite, so that whoever asks for a finite number refuses it."""
    return int(digits) if len(digits) <= 300 else float(digits)


def read_matrix(file: Path, what: str) -> Float[np.ndarray, "rows columns"]:
    """The numbers of a small text, a row a line.

    Raises:
        InputError: as `read_small`; or a word is no number, or lines differ in length.
    """
    lines = read_text(file, what, MATRIX_BYTES).splitlines()
    rows = [line.partition("#")[0].replace(",", " ").split() for line in lines]
    try:
        numbers = [[float(word) for word in row] for row in rows if row]
        if len({len(row) for row in numbers}) > 1:
            raise ValueError(f"its lines have {', '.join(str(len(row)) for row in numbers[:8])} numbers")
    except ValueError as error:
        raise InputError(f"cannot read {what} in {file}: {str(error)[:200]}. Export it again") from error
    return np.array(numbers, np.float64).reshape(len(numbers), -1)
