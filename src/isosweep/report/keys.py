"""Keys of a run by name: the record's own fields, and dotted paths into its config."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from isosweep.record.key import ABSENT

OWN = ("dataset", "scene", "model", "encoding", "loss", "seed", "label")
"""Fields of the record that stand before a config key of the same name."""
FURTHER = ("name", "protocol", "code_hash", "device_name")
"""What else may be named: sweep, protocol of the scores, numerical code, the device's name."""
MISSING = "–"

_NOTHING = object()


class ReportError(ValueError):
    """A table that cannot be made as asked; the message says what to do."""


def lookup(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None where the config does not have it."""
    here: Any = config
    for part in path.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return None
        here = here[part]
    return here


def text(value: Any) -> str:
    """A key's value as it is shown and as it is compared on the command line."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        brief = f"{value:g}"
        return brief if float(brief) == value or value != value else repr(value)
    return value if isinstance(value, str) else json.dumps(value)


def means(value: Any, word: str) -> bool:
    """Whether ``word``, from a command line, names the value: as shown, or a number or list written otherwise."""
    if text(value) == word:
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
    """Numbers and text as they are, so that they sort as what they are; lists and mappings as JSON text."""
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def order(value: Any) -> tuple[Any, ...]:
    """Sort key: absent first, numbers by size, text with its numbers by size (scan24 before scan105)."""
    if value is None or value == "":
        return (0,)
    if isinstance(value, int | float):
        return (1, value)
    parts = [p for p in re.split(r"(\d+)", str(value)) if p]
    return (2, *((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts))


def differences(a: Any, b: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted path -> the two values, for every leaf in which two configs differ; absent is shown as such."""
    if a == b:
        return {}
    if not isinstance(a, dict) or not isinstance(b, dict):
        return {prefix: (a, b)}
    found: dict[str, tuple[Any, Any]] = {}
    for key in a.keys() | b.keys():
        left, right = a.get(key, _NOTHING), b.get(key, _NOTHING)
        path = f"{prefix}.{key}" if prefix else str(key)
        if left is _NOTHING or right is _NOTHING:
            found[path] = (ABSENT if left is _NOTHING else left, ABSENT if right is _NOTHING else right)
        elif left != right:
            found |= differences(left, right, path)
    return found


def below(path: str, keys: Iterable[str]) -> bool:
    """Whether a dotted path is one of ``keys`` or lies below one."""
    return any(path == key or path.startswith(f"{key}.") for key in keys)


def leaves(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """All dotted paths of a config that end in a value."""
    found: list[str] = []
    for key, value in config.items():
        path = f"{prefix}{key}"
        found += leaves(value, f"{path}.") if isinstance(value, Mapping) else [path]
    return found


def near(word: str, known: Iterable[str]) -> str:
    """' Did you mean x?' with the nearest spellings, '' where there are none."""
    known = sorted(set(known))
    ends = [k for k in known if k.endswith(f".{word}")]
    found = ends[:3] or difflib.get_close_matches(word, known, 3, 0.6)
    return f" Did you mean {' or '.join(found)}?" if found else ""


def short(path: str, others: Sequence[str]) -> str:
    """A heading for a key: the last two parts of its path where they are unambiguous."""
    tail = ".".join(path.split(".")[-2:])
    return tail if sum(o == tail or o.endswith(f".{tail}") for o in others) == 1 else path
