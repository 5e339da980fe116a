"""Decodes the files of runs and sweeps. Whatever is wrong with one is an ``Unreadable``, which says it in one line.

A file may have been cut off, hit by a flipped bit, written by hand, or by a later version. msgspec answers with three
kinds of errors, json with three more: every reader of these files goes through here, so that one bad file among
thousands is named and never ends a command.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from isosweep.errors import InputError
from isosweep.runtime.files import BINARY
from isosweep.runtime.text import printable

T = TypeVar("T")
SCHEMA_VERSION = 2
"""Of record.json. 2 has the states interrupted and cancelled; versions that know 1 alone cannot read them."""
_CHUNK = 1 << 16
# Windows has neither, and inherits none; a pipe in a file's place is read as empty and not waited for
_READ = os.O_RDONLY | BINARY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
MOST_WORDS = 300
"""Characters of an error's text: msgspec quotes the value that it refuses."""
MOST_BYTES = 1 << 26
"""Of a record; those of runs with thousands of views have a hundredth of it."""
MOST_NESTED = 150
"""Levels of a file's lists and mappings. Everything that walks through them calls itself, up to twice a level."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))


class Unreadable(InputError):
    """A file that does not hold what it should. The message says why, without the path."""


def decoded(data: bytes, decode: Callable[[bytes], T]) -> T:
    """``decode(data)``; Unreadable where ``data`` is not what ``decode`` reads."""
    try:
        data.decode()  # msgspec does not look into the strings that it skips
        if data.count(b"[") + data.count(b"{") > MOST_NESTED and _levels(data) > MOST_NESTED:
            raise Unreadable("it is nested too deeply")
        return decode(data)
    except UnicodeDecodeError as error:
        raise Unreadable(f"byte {error.start} of {len(data)} is not UTF-8") from error
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise Unreadable(printable(str(error))[:MOST_WORDS]) from error


def _levels(data: bytes) -> int:
    """How deeply lists and mappings of a JSON text lie in each other."""
    level = deepest = 0
    for bracket in _STRING.sub(b"", data).translate(None, _NO_BRACKETS):
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


def read_whole(path: str) -> bytes:
    """The bytes of a small file, with fewer system calls than ``open`` makes. Raises OSError, Unreadable."""
    fd = os.open(path, _READ)
    try:
        data = os.read(fd, _CHUNK)
        if len(data) < _CHUNK:
            return data
        parts = [data]
        while part := os.read(fd, _CHUNK):
            parts.append(part)
            if len(parts) * _CHUNK > MOST_BYTES:  # a device in the file's place may never end
                raise Unreadable(f"it is larger than {MOST_BYTES >> 20} MiB")
        return b"".join(parts)
    finally:
        os.close(fd)


def json_values(data: bytes) -> Any:
    """JSON as Python's types; NaN and Infinity, which Python's json writes, are read. Raises Unreadable."""
    return decoded(data, json.loads)


class _Version(msgspec.Struct):
    schema_version: int = 0


def unreadable(data: bytes, error: Unreadable) -> str:
    """Why a record cannot be read: that a later version wrote it, where it says so, else what is wrong with it.

    A later version may have values that this one does not know, such as another state of a run.
    """
    try:
        found = newer(decoded(data, msgspec.json.Decoder(_Version).decode).schema_version)
    except Unreadable:
        return str(error)
    return str(error) if found is None else f"{found}; what this version cannot read: {error}"


def schema_problem(file: Path) -> str | None:
    """What `newer` says of a record's file; None where nothing of a later version is in it. Raises OSError."""
    try:
        return newer(decoded(read_whole(str(file)), msgspec.json.Decoder(_Version).decode).schema_version)
    except Unreadable:
        return None


def newer(schema_version: int) -> str | None:
    """What is wrong with a record of a later version; None for one that this version may write."""
    if schema_version <= SCHEMA_VERSION:
        return None
    return (
        f"a newer version of isosweep wrote it (schema {schema_version}, this one writes {SCHEMA_VERSION}): "
        "update isosweep to go on with this run"
    )
