"""Decodes the files of runs and sweeps. Whatever is wrong with one is an ``Unreadable``, which says it in one line.

A file may have been cut off, hit by a flipped bit, written by hand, or by a later version. msgspec answers with three
kinds of errors, json with three more: every reader of these files goes through here, so that one bad file among
thousands is named and never ends a command.
"""

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from isosweep.errors import InputError
from isosweep.runtime.files import BINARY
from isosweep.runtime.text import printable

T = TypeVar("T")
SCHEMA_VERSION = 2
"""Of record.json. 2 has the states interrupted and cancelled; versions that know 1 alone cannot read them."""
_CHUNK = 1 << 16
_READ = os.O_RDONLY | BINARY | getattr(os, "O_CLOEXEC", 0)  # Windows has none, and inherits none
MOST_WORDS = 300
"""Characters of an error's text: msgspec quotes the value that it refuses."""


class Unreadable(InputError):
    """A file that does not hold what it should. The message says why, without the path."""


def decoded(data: bytes, decode: Callable[[bytes], T]) -> T:
    """``decode(data)``; Unreadable where ``data`` is not what ``decode`` reads."""
    try:
        data.decode()  # msgspec does not look into the strings that it skips
        return decode(data)
    except UnicodeDecodeError as error:
        raise Unreadable(f"byte {error.start} of {len(data)} is not UTF-8") from error
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise Unreadable(printable(str(error))[:MOST_WORDS]) from error


def read_whole(path: str) -> bytes:
    """The bytes of a small file, with fewer system calls than ``open`` makes. Raises OSError."""
    fd = os.open(path, _READ)
    try:
        data = os.read(fd, _CHUNK)
        if len(data) < _CHUNK:
            return data
        parts = [data]
        while part := os.read(fd, _CHUNK):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def json_values(data: bytes) -> Any:
    """JSON as Python's types; NaN and Infinity, which Python's json writes, are read. Raises Unreadable."""
    return decoded(data, json.loads)


def newer(schema_version: int) -> str | None:
    """What is wrong with a record of a later version; None for one that this version may write."""
    if schema_version <= SCHEMA_VERSION:
        return None
    return (
        f"a newer version of isosweep wrote it (schema {schema_version}, this one writes {SCHEMA_VERSION}): "
        "update isosweep to go on with this run"
    )
