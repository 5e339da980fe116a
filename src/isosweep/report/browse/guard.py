"""The one guard around everything that the page reads of a run: what is wrong with a file is a note, and no more.

A run's files were cut off, edited by hand or written by another program, and libraries answer such files with errors of
any type: PIL alone has six. One bad run must not cost the page of two hundred good ones.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from isosweep.errors import InputError, UserError
from isosweep.runtime.text import printable

T = TypeVar("T")
MOST_WORDS = 300
"""Characters of a note: errors of libraries quote what they refuse."""


def guarded(what: str, read: Callable[[], T], otherwise: T, notes: list[str]) -> T:
    """What ``read`` returns; if it raises, ``otherwise``, and a note that begins with ``what``.

    The note names the error's type unless its message was written for users, so that a defect of ours is seen, too.
    """
    try:
        return read()
    except (UserError, OSError) as error:
        why = str(error)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    notes.append(f"{what}: {printable(why)}"[:MOST_WORDS])
    return otherwise


def regular(path: Path) -> Path:
    """The path of a regular file. Raises InputError for a pipe or a device: reading it might never end."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path.name} is no regular file")
    return path
