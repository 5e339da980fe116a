"""Errors whose message is written for the user: what was sought, what was found, what to do.

May import: nothing.

A command prints the message of a ``UserError``, an ``OSError`` or a ``MemoryError`` as one paragraph and ends with a
non-zero code. Any other exception is a defect of the program, or of a library, and keeps its traceback: a
``ValueError`` of numpy or torch is none of these.
"""

import re

_LONG_WORD = re.compile(r"\S{1001,}")


class UserError(Exception):
    """The base of all of them. Rooms derive their own where a caller has to tell them apart.

    A message quotes names and values, and a damaged file may hold ones of thousands of characters: of a word beyond
    1,000 characters it has both ends.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(_LONG_WORD.sub(lambda word: f"{word[0][:100]}...{word[0][-100:]}", message))


class InputError(UserError, ValueError):
    """A setting, a file or a combination of them that cannot be used as it is."""


class MissingLibraryError(UserError, ModuleNotFoundError):
    """An optional library that the chosen option needs and that cannot be imported."""


class NumericalError(UserError, ArithmeticError):
    """Training left the finite numbers: the settings have to change, not the program."""


class OverLimit(UserError):
    """What a run has started took longer than it was given, or has stopped saying anything."""
