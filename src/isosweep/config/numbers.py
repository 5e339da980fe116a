"""The check of numbers against what is declared beside them: annotations of constructors, metadata of plain settings.

An annotation is read from the source (`isosweep.config.signatures`), so that no module is imported for it. Its names
are those of `isosweep.bounds`; ``int``, ``float`` and ``bool`` bound nothing but the type, and NaN and infinity.
Of any other name nothing is said here: the constructor checks it.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, get_args, get_origin

from isosweep import bounds
from isosweep.bounds import Bound
from isosweep.config import schedules
from isosweep.config.signatures import SPECIAL, find_signature, targets
from isosweep.errors import InputError

PLAIN = {"int": int, "float": float, "bool": bool, "Any": Any}
ANY = Bound()
"""Every finite number."""
WEIGHT = Bound(least=0)
"""Of a loss term."""


@dataclass(frozen=True)
class Allowed:
    """What a setting may be."""

    number: type | None = None
    """int or float; bool for a setting that is true or false; None where it is something else."""
    bound: Bound = ANY
    schedule: bool = False
    """A number, or a schedule whose values the bound holds for."""
    items: "Allowed | None" = None
    """Of a list; with a number, either of the two."""
    none: bool = False
    texts: tuple[str, ...] = ()
    """What it may be in place of a number."""
    other: bool = False
    """Any text, or what is not known here."""

    @property
    def words(self) -> str:
        """In words: 'a whole number of 1 or more, or null'."""
        if self.number is bool:
            words = "true or false"
        elif self.number is not None:
            words = self.bound.words(self.number is int)
        else:
            words = f"a list, each {self.items.words if self.items else 'of any kind'}"
        also = ["a schedule of such"] if self.schedule else []
        also += ["a list of such"] if self.items is not None and self.number is not None else []
        also += [*self.texts, *(["null"] if self.none else [])]
        return ", or ".join([words, *also])


def allowed(annotation: ast.expr) -> Allowed:
    """What an annotation allows: ``Count | None``, ``Annotated[int, Bound(least=2)]``, ``Sequence[Number]``, ..."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        one, other = allowed(annotation.left), allowed(annotation.right)
        if one.number is None and one.items is None:
            one, other = other, one
        return replace(
            one, none=one.none or other.none, texts=one.texts + other.texts, other=one.other or other.other
        )
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return Allowed(none=True)
    if isinstance(annotation, ast.Name):
        named = getattr(bounds, annotation.id, None)
        if annotation.id in ("int", "float", "bool"):
            return Allowed(PLAIN[annotation.id])
        if hasattr(named, "__metadata__"):
            kind, bound, *many = get_args(named)
            found = _of(kind, bound)
            return replace(found, items=found) if many else found
        return Allowed(other=True)
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        if annotation.value.id in ("Sequence", "list"):
            return Allowed(items=allowed(annotation.slice))
        if annotation.value.id == "Literal":
            return Allowed(texts=tuple(ast.literal_eval(text) for text in _elements(annotation.slice)))
        if annotation.value.id == "Annotated" and isinstance(annotation.slice, ast.Tuple):
            kind, bound = annotation.slice.elts
            if (
                isinstance(kind, ast.Name)
                and isinstance(bound, ast.Call)
                and ast.unparse(bound.func) == "Bound"
            ):
                ends = {str(k.arg): ast.literal_eval(k.value) for k in bound.keywords}
                return _of(PLAIN[kind.id], Bound(**ends))
    return Allowed(other=True)


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _of(kind: Any, bound: Bound) -> Allowed:
    return Allowed(float, bound, schedule=True) if kind is Any else Allowed(kind, bound)


def wrong(value: Any, key: str, what: Allowed) -> Iterator[str]:
    """A message if ``value`` is not allowed, or for each item of it that is not."""
    if (what.number is None and what.items is None) or (value is None and what.none):
        return
    if isinstance(value, Sequence | Mapping) and not isinstance(value, str):
        if what.items is not None and isinstance(value, Sequence):
            for item in value:
                yield from wrong(item, f"{key}=[..]", what.items)
        elif what.schedule:
            yield from _wrong_schedule(value, key, what)
        elif not what.other:
            yield f"{key}={value}: give {what.words}."
        return
    if isinstance(value, str) and (what.other or value in what.texts):
        return
    if what.number is None or not _holds(value, what):
        yield f"{key}={_shown(value)}: give {what.words}."


def _holds(value: Any, what: Allowed) -> bool:
    if what.number is bool or isinstance(value, bool):
        return what.number is bool and isinstance(value, bool)
    kinds = int if what.number is int else int | float
    return isinstance(value, kinds) and what.bound.holds(value, whole=what.number is int)


def _wrong_schedule(schedule: Any, key: str, what: Allowed) -> Iterator[str]:
    try:
        schedules.check(schedule, key)
    except InputError as error:
        yield f"{error}."
        return
    if any(not what.bound.holds(number, whole=False) for number in schedules.reached(schedule)):
        yield f"{key}={schedule}: give {what.words}."


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


def wrong_arguments(node: Any, key: str) -> list[str]:
    """A message for each argument of the targets below ``node`` (resolved) that its annotation does not allow.

    Args:
        key: of the node, for messages.
    """
    found: list[str] = []
    for path, target in targets(node, key):
        signature = find_signature(str(target["_target_"]), path)
        for name, value in target.items():
            if (path, name, value) == ("dataset", "masks", "auto"):
                continue  # a loader that knows true and false alone is given false
            if name in signature.annotations and name not in SPECIAL:
                found += wrong(value, f"{path}.{name}", allowed(signature.annotations[name]))
    terms = node.get("terms") if key == "loss" and isinstance(node, Mapping) else None
    for name, term in terms.items() if isinstance(terms, Mapping) else ():
        if isinstance(term, Mapping) and "weight" in term:
            weights = Allowed(float, WEIGHT, schedule=True)
            found += wrong(term["weight"], f"loss.terms.{name}.weight", weights)
    return found


def wrong_fields(settings: Any, group: str) -> Iterator[str]:
    """A message for each number of a group of plain settings that its field's bound does not hold for.

    A field's default is always allowed. Types are checked by Hydra's schema.
    """
    for field in fields(settings):
        value, key = getattr(settings, field.name), f"{group}.{field.name}"
        if is_dataclass(value):
            yield from wrong_fields(value, key)
            continue
        what = allowed_in(field)
        if what is None or value is None or value == field.default:
            continue
        yield from wrong(value, key, what)


def allowed_in(field: Any) -> Allowed | None:
    """What a field of plain settings allows; None where it is no number."""
    bound = field.metadata.get("bound", ANY)
    if get_origin(field.type) is list:
        kind = get_args(field.type)[0]
        return Allowed(items=Allowed(kind, bound)) if kind in (int, float) else None
    types = get_args(field.type) or (field.type,)
    for kind in (int, float):
        if kind in types:
            return Allowed(kind, bound, none=type(None) in types)
    if field.type is Any and "bound" in field.metadata:
        return Allowed(float, bound, schedule=True, none=field.default is None)
    return None
