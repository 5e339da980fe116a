"""Identifies the code that made a number: a hash of the numerical source files without comments and formatting."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
VERSION = 2
"""Version of the hashing method, written before every hash. Version 1 hashed the files' bytes and had no prefix."""

NUMERICAL: tuple[str, ...] = (
    "types.py", "geometry.py", "config/schedules.py", "ops", "encodings", "fields", "samplers", "losses", "models",
    "data", "training", "rendering/views.py", "meshes", "evaluation", "app/build.py",
)  # fmt: skip
"""Files and folders that load, train, render and score. What prepares data, starts runs, keeps records or draws
tables and pages cannot change a number of a run. tests/record/test_code_version.py holds this list against the
imports."""

EQUAL: tuple[frozenset[str], ...] = (
    # before and after the move into rooms: three runs of 500 steps (demo, chair with masks, scan24 with a background)
    frozenset({"53cb0fda407b1a2b", "2:e61e24a10516357a"}),
)
"""Groups of hashes whose code gives the same numbers bit for bit, as a comparison has shown. Tables may mix them."""


def code_hash(package: Path = PACKAGE) -> str:
    """Hash of the numerical files of ``package``: ``2:`` and 16 hexadecimal digits.

    Each file is hashed as its syntax tree without docstrings, so comments, docstrings and formatting do not change
    the hash. Every other statement does, and so do the names of the files.
    """
    digest = hashlib.sha256()
    for path in _files(package):
        digest.update(f"{path.relative_to(package).as_posix()} {_file_digest(path, _stamp(path))}\n".encode())
    return f"{VERSION}:{digest.hexdigest()[:16]}"


def same_code(one: str, other: str) -> bool:
    """Whether two hashes are equal or known to belong to code that gives the same numbers."""
    return one == other or any(one in group and other in group for group in EQUAL)


def representative(code: str) -> str:
    """The hash that stands for all hashes in the group of ``code``; ``code`` itself if it is in none."""
    return next((min(group) for group in EQUAL if code in group), code)


def _files(package: Path) -> Iterator[Path]:
    for name in sorted(NUMERICAL):
        place = package / name
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place] if place.is_file() else []


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


@cache
def _file_digest(path: Path, stamp: tuple[int, int]) -> str:
    """Hash of one file. ``stamp`` is part of the cache's key, so that a changed file is hashed again."""
    text: list[str] = []
    _append(ast.parse(path.read_bytes()), text)
    return hashlib.sha256("\0".join(text).encode(errors="surrogatepass")).hexdigest()


def _append(node: object, text: list[str]) -> None:
    """Append a syntax tree to ``text``: node types and the fields that every version of Python has.

    Docstrings are left out. So are empty fields, because versions of Python differ in which ones exist.
    """
    if isinstance(node, ast.AST):
        text.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                value = [item for item in value if not _is_docstring(item)]
            if value is None or value == [] or name in ("ctx", "kind", "type_comment"):
                continue
            text.append(name)
            _append(value, text)
        text.append(")")
    elif isinstance(node, list):
        for item in node:
            _append(item, text)
        text.append("]")
    else:
        text.append(repr(node))


def _is_docstring(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
