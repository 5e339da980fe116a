"""What a ``_target_`` can be called with, from its source file, without importing it: torch would take seconds."""

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from isosweep.config.errors import ConfigError, did_you_mean

SPECIAL = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
"""Keys of a node that are Hydra's."""


@dataclass(frozen=True)
class Signature:
    """Names that a class or function can be called with."""

    names: tuple[str, ...]
    required: frozenset[str]
    accepts_any: bool
    annotations: Mapping[str, ast.expr] = field(default_factory=dict)
    """Of those that have one. What it allows is read by `isosweep.config.numbers`."""


def targets(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node from ``node`` down that has a ``_target_``, with its key; ``path`` is the key of ``node``."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from targets(value, f"{path}[{i}]")


@lru_cache(maxsize=1024)
def find_signature(target: str, key: str = "_target_") -> Signature:
    """The signature of ``package.module.Name`` from its source, without importing the module.

    Raises:
        ConfigError: no such module, or no such class or function in it.
    """
    module, _, name = target.rpartition(".")
    path = module_file(module)
    if path is None:
        raise ConfigError(f"{key}: _target_ {target}: there is no module {module or target!r}")
    body = _definitions(path)
    if name not in body:
        public = [n for n in body if not n.startswith("_")]
        raise ConfigError(
            f"{key}: _target_ {target}: {module} has no '{name}'{did_you_mean(name, public)} "
            f"It has: {', '.join(sorted(public))}."
        )
    found = body[name]
    if isinstance(found, ast.ClassDef):
        return _class_signature(found, path, key)
    if isinstance(found, ast.ImportFrom):
        origin = next(a.name for a in found.names if (a.asname or a.name) == name)
        return find_signature(f"{found.module}.{origin}", key)
    return _function_signature(found, path, skip_first=False)


def module_file(module: str) -> Path | None:
    """The source file of a dotted module name, found without importing it; None if there is none."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top) if top else None
    except ValueError:
        return None
    if spec is None:
        return None
    roots = [Path(p) for p in spec.submodule_search_locations or []]
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for root in roots:
        for candidate in (root.joinpath(*rest).with_suffix(".py"), root.joinpath(*rest, "__init__.py")):
            if candidate.is_file():
                return candidate
    return None


_Definition = ast.ClassDef | ast.FunctionDef | ast.ImportFrom


@lru_cache(maxsize=64)
def _definitions(path: Path) -> dict[str, _Definition]:
    """Name -> the class, function or import that binds it at a module's top level."""
    found: dict[str, _Definition] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update({alias.asname or alias.name: node for alias in node.names})
    return found


def _class_signature(node: ast.ClassDef, path: Path, key: str) -> Signature:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            own = _function_signature(item, path, skip_first=True)
            base = _base_signature(node, path, key) if own.accepts_any else None
            return own if base is None else _joined(own, base)
    if any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        members = {
            i.target.id: i
            for i in node.body
            if isinstance(i, ast.AnnAssign) and isinstance(i.target, ast.Name)
        }
        needed = frozenset(name for name, member in members.items() if member.value is None)
        annotations = {name: member.annotation for name, member in members.items()}
        return Signature(tuple(members), needed, accepts_any=False, annotations=annotations)
    base = _base_signature(node, path, key)
    return base or Signature((), frozenset(), accepts_any=bool(node.bases))


def _base_signature(node: ast.ClassDef, path: Path, key: str) -> Signature | None:
    """The signature of the first base that is a class of ours; None if there is none."""
    known = _definitions(path)
    for base in node.bases:
        if isinstance(base, ast.Name) and isinstance(found := known.get(base.id), ast.ClassDef):
            return _class_signature(found, path, key)
        if isinstance(base, ast.Name) and isinstance(found, ast.ImportFrom):
            origin = next(a.name for a in found.names if (a.asname or a.name) == base.id)
            if str(found.module).startswith("isosweep"):
                return find_signature(f"{found.module}.{origin}", key)
    return None


def _joined(own: Signature, base: Signature) -> Signature:
    """Of a constructor that hands what it does not know to its base's."""
    return Signature(
        tuple(dict.fromkeys((*own.names, *base.names))),
        own.required | (base.required - set(own.names)),
        base.accepts_any,
        {**base.annotations, **own.annotations},
    )


def _function_signature(node: ast.FunctionDef, path: Path, skip_first: bool) -> Signature:
    arguments = node.args
    given = [*arguments.posonlyargs, *arguments.args]
    positional = [a.arg for a in given]
    required = positional[: len(positional) - len(arguments.defaults)]
    if skip_first:
        positional, required = positional[1:], required[1:]
    keyword = [a.arg for a in arguments.kwonlyargs]
    required += [a.arg for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is None]
    names, needed = (*positional, *keyword), frozenset(required)
    annotations = {a.arg: a.annotation for a in (*given, *arguments.kwonlyargs) if a.annotation is not None}
    if (views := _views_signature(arguments, path)) is not None:
        names = tuple(dict.fromkeys((*views.names, *(n for n in names if n != "views"))))
        needed = (needed - {"views"}) | views.required
        annotations = {**views.annotations, **annotations}
    return Signature(names, needed, arguments.kwarg is not None, annotations)


def _views_signature(arguments: ast.arguments, path: Path) -> Signature | None:
    """The fields of ``ViewOptions``, if a loader has a parameter ``views: ViewOptions``; else None.

    The config gives these fields as flat keys beside the loader's own (`isosweep.data.loading.split_settings`).
    """
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        annotation = argument.annotation
        if argument.arg == "views" and isinstance(annotation, ast.Name) and annotation.id == "ViewOptions":
            module = _definitions(path).get(annotation.id)
            if isinstance(module, ast.ImportFrom):
                return find_signature(f"{module.module}.{annotation.id}")
    return None
