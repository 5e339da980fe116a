"""Keys of a run: names of record fields and dotted paths into its config, and how their values are shown."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from isosweep.errors import InputError
from isosweep.record.key import ABSENT

RECORD_FIELDS = ("dataset", "scene", "model", "encoding", "loss", "seed", "label")
"""Record fields that can be keys; they take precedence over a config key of the same name."""
OTHER_KEYS = ("name", "protocol", "code_hash", "device_name")
"""Further keys: the sweep, the scores' protocol, the hash of the numerical code, the device's name."""
MISSING_TEXT = "–"
"""Printed for a value or number that is not there."""

_NOT_THERE = object()


class ReportError(InputError):
    """A table or page that cannot be made as requested; the message says what to do."""


def lookup(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path of a config; None if the config does not have it."""
    here: Any = config
    for part in path.split("."):
        # asking for the type first takes a tenth of the time, and a table asks a million times
        if not (type(here) is dict or isinstance(here, Mapping)) or part not in here:
            return None
        here = here[part]
    return here


def value_text(value: Any) -> str:
    """A key's value as text: what tables print and what the command line compares with."""
    if value is None or value == "":
        return MISSING_TEXT
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        brief = f"{value:g}"
        return brief if float(brief) == value or value != value else repr(value)
    return value if isinstance(value, str) else json.dumps(value)


def names_value(value: Any, word: str) -> bool:
    """Whether a ``word`` of the command line means this value.

    It may be the value as tables print it, or another spelling of the same number or list (1e-1 for 0.1).
    """
    if value_text(value) == word:
        return True
    if value is None or value == "":
        return word in ("null", "none", "")
    try:
        typed = json.loads(word)
    except ValueError:
        return False
    if isinstance(typed, int | float) and not isinstance(typed, bool):
        return isinstance(value, int | float) and not isinstance(value, bool) and value == typed
    return hashable(typed) == value


def hashable(value: Any) -> Any:
    """The value itself if it is a number or text, JSON text if it is a list or mapping."""
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def sort_key(value: Any) -> tuple[Any, ...]:
    """Sort key of a value: absent first, then numbers, then text. Numbers in text count by size: scan24, scan105."""
    if value is None or value == "":
        return (0,)
    if isinstance(value, int | float):
        return (1, value)
    parts = [p for p in re.split(r"([0-9]+)", str(value)) if p]
    return (2, *(_by_size(p) if p[0] in "0123456789" else (1, 0, p) for p in parts))


def _by_size(digits: str) -> tuple[int, int, str]:
    """Sort key of a number written as text. Python refuses to make a number of more than 4,300 digits."""
    digits = digits.lstrip("0")
    return (0, len(digits), digits)


def config_differences(a: Any, b: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted path -> the two values, for every leaf in which two configs differ; ABSENT for a key one lacks."""
    if a is b:
        return {}
    if not isinstance(a, dict) or not isinstance(b, dict):
        return {} if a == b else {prefix: (a, b)}
    found: dict[str, tuple[Any, Any]] = {}
    for key, left in a.items():
        right = b.get(key, _NOT_THERE)
        if left is right:  # runs share equal groups of settings (collect.py)
            continue
        path = f"{prefix}.{key}" if prefix else str(key)
        if right is _NOT_THERE:
            found[path] = (left, ABSENT)
        elif type(left) is dict:
            found |= config_differences(left, right, path)
        elif left != right:
            found[path] = (left, right)
    for key, right in b.items():
        if key not in a:
            found[f"{prefix}.{key}" if prefix else str(key)] = (ABSENT, right)
    return found


def is_within(path: str, keys: Iterable[str]) -> bool:
    """Whether a dotted path is one of ``keys`` or lies below one."""
    return any(path == key or path.startswith(f"{key}.") for key in keys)


def leaf_paths(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """All dotted paths of a config that end in a value."""
    found: list[str] = []
    for key, value in config.items():
        path = f"{prefix}{key}"
        found += leaf_paths(value, f"{path}.") if isinstance(value, Mapping) else [path]
    return found


def suggestion(word: str, known: Iterable[str]) -> str:
    """' Did you mean x?' with the nearest spellings, '' where there are none."""
    known = sorted(set(known))
    ends = [k for k in known if k.endswith(f".{word}")]
    found = ends[:3] or difflib.get_close_matches(word, known, 3, 0.6)
    return f" Did you mean {' or '.join(found)}?" if found else ""


def short_key(path: str, others: Sequence[str]) -> str:
    """A heading for a key: the last two parts of its path if no other key ends in them, else the whole path."""
    tail = ".".join(path.split(".")[-2:])
    return tail if sum(o == tail or o.endswith(f".{tail}") for o in others) == 1 else path
