"""The check of a record.json that another program has written, with the line of each mistake (docs/evaluation.md)."""

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from json.decoder import scanstring  # pyright: ignore[reportAttributeAccessIssue] - the standard library's own
from typing import Any, NamedTuple

import msgspec

from isosweep.record.reading import SCHEMA_VERSION
from isosweep.record.schema import Record
from isosweep.runtime.number import is_number

REQUIRED = ("dataset", "scene", "label", "model", "seed", "status", "scores")
PREFIXES = ("nvs", "train_view", "val", "geometry")
SAME = 1e-3
"""Relative difference up to which a mean over views is the value that stands beside it."""
_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r"[^\s,\]}]+")

Path = tuple[str | int, ...]


class Mistake(NamedTuple):
    """One thing that is wrong, and the line where it stands, counted from 1."""

    line: int
    what: str


class _Broken(Exception):
    """The text is no JSON from here on."""


def mistakes(text: str) -> list[Mistake]:
    """Everything that is wrong with the text of a record.json, in the order of lines; an empty list for a good one."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return [Mistake(error.lineno, f"this is no JSON: {error.msg} (column {error.colno})")]
    except RecursionError:
        return [Mistake(1, "lists and mappings of it are nested too deeply")]
    except ValueError as error:  # a whole number of more digits than Python reads
        return [Mistake(1, f"this is no JSON: {error}")]
    except _Broken as error:
        word = str(error)
        line = 1 + text[: re.search(rf"(?<![\w\"]){re.escape(word)}", text).start()].count("\n")  # pyright: ignore[reportOptionalMemberAccess]
        return [
            Mistake(line, f"{word} is no number of JSON: write null, and the reason under scores.reasons")
        ]
    lines, twice = _lines(text)
    if not isinstance(value, dict):
        return [Mistake(1, "a record is an object, { ... }")]
    found = [Mistake(line, f"the field {key!r} stands there twice") for key, line in twice]
    for path, what in _wrong(value):
        found.append(Mistake(_line_of(path, lines), what))
    if not found:
        found += _types(value, lines)
    return sorted(set(found))


def _refuse(word: str) -> Any:
    raise _Broken(word)


def _wrong(value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    known = [field.name for field in msgspec.structs.fields(Record)]
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield (name,), f"there is no field {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    for name in REQUIRED:
        if name not in value:
            yield (), f"the field {name!r} is missing"
    for name in ("dataset", "scene", "label", "model"):
        if name in value and not (isinstance(value[name], str) and value[name].strip()):
            yield (name,), f"{name} is a text that is not empty, found {_shown(value[name])}"
    seed, version = value.get("seed", 0), value.get("schema_version", 1)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        yield ("seed",), f"seed is a whole number of 0 or more, found {_shown(seed)}"
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        yield ("schema_version",), f"schema_version is 1 to {SCHEMA_VERSION}, found {_shown(version)}"
    scores = value.get("scores")
    if scores is None:
        if value.get("status") == "finished" and "scores" in value:
            yield ("scores",), "a finished record has scores"
        return
    if not isinstance(scores, dict):
        yield ("scores",), f"scores is an object with protocol and values, found {_shown(scores)}"
        return
    yield from _wrong_scores(scores)


def _wrong_scores(scores: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    if not (isinstance(scores.get("protocol"), str) and scores["protocol"]):
        yield ("scores",), "scores.protocol is missing: the name of how they were made, such as dtu-neus"
    values, reasons = scores.get("values"), scores.get("reasons") or {}
    if not isinstance(values, dict) or not values:
        yield ("scores",), "scores.values is missing: an object of names and numbers"
        return
    for name, number in values.items():
        here = ("scores", "values", name)
        prefix, slash, metric = name.partition("/")
        if not slash or not metric or prefix not in PREFIXES:
            yield (
                here,
                f"the score {name!r} does not say what was scored: one of {', '.join(PREFIXES)}, a slash, a name",
            )
        if number is None:
            if not (isinstance(reasons, dict) and isinstance(reasons.get(name), str)):
                yield here, f"the score {name!r} is null and has no reason under scores.reasons"
        elif not is_number(number):
            yield here, f"the score {name!r} is a number or null, found {_shown(number)}"
    if isinstance(reasons, dict):
        for name in reasons:
            if name not in values:
                yield ("scores", "reasons", name), f"scores.reasons has {name!r}, which scores.values has not"
    views = scores.get("per_view") or {}
    if not isinstance(views, dict):
        yield ("scores", "per_view"), f"scores.per_view is an object of scores, found {_shown(views)}"
        return
    for name, each in views.items():
        yield from _wrong_views(name, each, values)


def _wrong_views(name: str, each: Any, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    here: Path = ("scores", "per_view", name)
    if not isinstance(each, dict):
        yield here, f"scores.per_view of {name!r} is an object of views and numbers, found {_shown(each)}"
        return
    bad = [view for view, x in each.items() if x is not None and not is_number(x)]
    for view in bad:
        yield (
            (*here, view),
            f"the score {name!r} of view {view!r} is a number or null, found {_shown(each[view])}",
        )
    if name not in values:
        yield here, f"scores.per_view has {name!r}, which scores.values has not"
        return
    numbers, mean = [x for x in each.values() if x is not None], values[name]
    if bad or not numbers or not is_number(mean):
        return
    over = math.fsum(numbers) / len(numbers)
    if abs(over - mean) > SAME * max(abs(over), abs(mean), 1e-9):
        yield (
            ("scores", "values", name),
            f"the score {name!r} is {mean:g}, and the mean of its views is {over:g}",
        )


def _types(value: Mapping[str, Any], lines: Mapping[Path, int]) -> list[Mistake]:
    """What else has a type that a record does not have there: the first such thing."""
    filled = {"run_key": "", **value}
    try:
        msgspec.convert(filled, Record)
    except UnicodeEncodeError:
        return [Mistake(1, "a text of it has half of a character (\\ud800 to \\udfff), which no UTF-8 holds")]
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        path = tuple(
            int(a) if a else b for a, b in re.findall(r"\[(\d+)\]|\.?([\w]+|\[\.\.\.\])", where.rstrip("`"))
        )
        return [Mistake(_line_of(path, lines), f"{'.'.join(map(str, path))}: {message}")]
    return []


def _line_of(path: Path, lines: Mapping[Path, int]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _lines(text: str) -> tuple[dict[Path, int], list[tuple[str, int]]]:
    """The line of every field and entry of good JSON, and the fields that an object has twice."""
    lines: dict[Path, int] = {}
    twice: list[tuple[str, int]] = []

    def blank(at: int) -> int:
        return _SPACE.match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess]

    def line(at: int) -> int:
        return text.count("\n", 0, at) + 1

    def read(at: int, path: Path) -> int:
        at = blank(at)
        lines.setdefault(path, line(at))
        if text[at] == '"':
            return scanstring(text, at + 1)[1]
        if text[at] not in "{[":
            return _PLAIN.match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess]
        close, number, seen = {"{": "}", "[": "]"}[text[at]], 0, set()
        at = blank(at + 1)
        while text[at] != close:
            key: str | int = number
            if close == "}":
                name, end = scanstring(text, at + 1)
                if name in seen:
                    twice.append((str(name), line(at)))
                seen.add(name)
                key = str(name)
                lines[*path, key] = line(at)
                at = blank(end) + 1
            at = blank(read(at, (*path, key)))
            at, number = (blank(at + 1) if text[at] == "," else at), number + 1
        return at + 1

    read(0, ())
    return lines, twice
