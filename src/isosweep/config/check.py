"""Checks of a composed config before torch is imported and before anything loads.

A ``_target_`` node is compared with the signature of its target, which is read from the source file. So a key that the
constructor does not have fails within a fraction of a second.
"""

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from isosweep.config.errors import did_you_mean, unknown_key
from isosweep.config.schema import MODES, Config
from isosweep.errors import InputError

PLAIN_GROUPS = ("optim", "train", "eval", "export", "tracker")
BUILT_GROUPS = ("dataset", "encoding", "sampler", "model", "loss")
SPECIAL = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


class ConfigError(InputError):
    """The config cannot be run as composed; the message says what to change."""


@dataclass(frozen=True)
class Signature:
    """Names that a class or function can be called with."""

    names: tuple[str, ...]
    required: frozenset[str]
    accepts_any: bool


def check(cfg: DictConfig) -> None:
    """Check a composed config.

    Raises:
        ConfigError: nothing reads a key, a ``_target_`` does not exist or lacks an argument, or there is no such mode.
    """
    known = {f.name for f in fields(Config)}
    for key in cfg:
        if str(key) not in known:
            hint = did_you_mean(str(key), known)
            raise ConfigError(
                f"there is no top-level key '{key}'{hint} Top-level keys: {', '.join(sorted(known))}."
            )
    if cfg.mode not in MODES:
        raise ConfigError(f"mode={cfg.mode} is none of {', '.join(MODES)}{did_you_mean(cfg.mode, MODES)}")
    for name in (*PLAIN_GROUPS, "run", "view", "debug"):
        check_plain(cfg, name)
    for name in BUILT_GROUPS:
        node = OmegaConf.to_container(cfg[name], resolve=False)
        if not isinstance(node, dict) or "_target_" not in node:
            raise ConfigError(f"the group {name} has no _target_: name the class or function it builds")
        check_targets(node, name)


def one_option_each(overrides: Iterable[str]) -> None:
    """Check that no override chooses two options of a group, such as ``tracker=[wandb,tensorboard]``.

    Hydra would merge both without a word, and the last would win. ``sweep``, ``experiment`` and ``debug`` are recipes,
    which may be merged.

    Raises:
        ConfigError: an override chooses several options.
    """
    for override in overrides:
        found = re.fullmatch(r"\+*/?([\w/]+)(?:@[\w.]+)?=\[(.*)\]", override.strip())
        if found is None or found[1] not in (*PLAIN_GROUPS, *BUILT_GROUPS):
            continue
        hint = f"; several trackers at once: 'tracker.name=[{found[2]}]'" if found[1] == "tracker" else ""
        several = f"; a sweep over several: -m {found[1]}={found[2]}"
        raise ConfigError(f"{override}: {found[1]} takes one option{several}{hint}")


def require_scene(cfg: DictConfig) -> None:
    """Check that a scene is chosen.

    Raises:
        ConfigError: none is; the message lists the scenes in the data folder.
    """
    if cfg.scene is not None:
        return
    root = Path(str(cfg.dataset.get("root") or "."))
    prefix = f"{cfg.dataset.get('name')}_"
    found = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    own = [name.removeprefix(prefix) for name in found if name.startswith(prefix)]
    there = f"{root} has {', '.join((own or found)[:12])}" if found else f"{root} has none: set dataset.root="
    raise ConfigError(f"which scene? Set scene=<name>; {there}")


def check_plain(cfg: DictConfig, name: str) -> None:
    """Check the keys of a plain group.

    Raises:
        ConfigError: the group has a key that its dataclass does not have.
    """
    hints = {f.name: f.default_factory for f in fields(Config) if f.name == name}
    allowed = {f.name for f in fields(hints[name])}  # pyright: ignore[reportArgumentType]
    for key in cfg[name]:
        if key not in allowed:
            raise ConfigError(unknown_key(OmegaConf.structured(Config), f"{name}.{key}") or key)


def check_targets(node: Any, key: str) -> None:
    """Compare every ``_target_`` node below ``node`` (unresolved) with the signature of its target.

    Args:
        key: of the node, for messages.

    Raises:
        ConfigError: there is no such target, it has no argument of a given name, or a required one is not given.
    """
    for path, found in targets(node, key):
        target = str(found["_target_"])
        signature = find_signature(target, path)
        given = {str(k) for k in found if k not in SPECIAL}
        for key in sorted(given - set(signature.names)):
            if not signature.accepts_any:
                raise ConfigError(
                    f"{path}.{key}: {target} has no argument '{key}'{did_you_mean(key, signature.names)} "
                    f"Arguments: {', '.join(signature.names)}."
                )
        missing = sorted(signature.required - given)
        if missing and not found.get("_partial_", False):
            raise ConfigError(f"{path}: {target} needs {', '.join(missing)}, which the config does not set")


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
            return _function_signature(item, path, skip_first=True)
    if any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        members = [i for i in node.body if isinstance(i, ast.AnnAssign) and isinstance(i.target, ast.Name)]
        names = tuple(m.target.id for m in members if isinstance(m.target, ast.Name))
        needed = frozenset(m.target.id for m in members if m.value is None and isinstance(m.target, ast.Name))
        return Signature(names, needed, accepts_any=False)
    known = _definitions(path)
    for base in node.bases:
        if isinstance(base, ast.Name) and isinstance(found := known.get(base.id), ast.ClassDef):
            return _class_signature(found, path, key)
        if isinstance(base, ast.Name) and isinstance(found, ast.ImportFrom):
            origin = next(a.name for a in found.names if (a.asname or a.name) == base.id)
            if str(found.module).startswith("isosweep"):
                return find_signature(f"{found.module}.{origin}", key)
    return Signature((), frozenset(), accepts_any=bool(node.bases))


def _function_signature(node: ast.FunctionDef, path: Path, skip_first: bool) -> Signature:
    arguments = node.args
    positional = [a.arg for a in [*arguments.posonlyargs, *arguments.args]]
    required = positional[: len(positional) - len(arguments.defaults)]
    if skip_first:
        positional, required = positional[1:], required[1:]
    keyword = [a.arg for a in arguments.kwonlyargs]
    required += [a.arg for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is None]
    names, needed = (*positional, *keyword), frozenset(required)
    if (views := _views_signature(arguments, path)) is not None:
        names = tuple(dict.fromkeys((*views.names, *(n for n in names if n != "views"))))
        needed = (needed - {"views"}) | views.required
    return Signature(names, needed, arguments.kwarg is not None)


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
