"""Chooses the row keys when the user names none, and checks that named keys exist."""

from collections.abc import Sequence
from typing import Any

from isosweep.report.cells import TableSpec, group_runs
from isosweep.report.checks import setting_differences
from isosweep.report.collect import Run
from isosweep.report.keys import OTHER_KEYS, RECORD_FIELDS, ReportError, leaf_paths, lookup, suggestion

CANDIDATES = ("model", "encoding", "loss", "label")
"""Record fields that become row keys before any config key does, in this order."""


def default_rows(runs: Sequence[Run], cols: tuple[str, ...], over: tuple[str, ...]) -> tuple[str, ...]:
    """The fewest keys that keep runs of different settings apart: model, encoding, loss, then config keys.

    A key is taken only if it separates runs that the earlier keys leave together. Of config keys that vary
    together, one that was set on the command line is preferred, then the shortest.
    """
    taken = (*cols, *over)
    rows: tuple[str, ...] = ()
    known = {name: [r.get(name) for r in runs] for name in ("dataset", "scene", *cols, *CANDIDATES)}
    parts = {name: known[name] for name in ("dataset", "scene", *cols)}
    for name in CANDIDATES:
        if name not in taken and len(set(known[name])) > 1:
            if name == "label" and not _mixed_settings(runs, TableSpec(rows, cols, over)):
                continue
            if len(set(zip(*parts.values(), known[name], strict=True))) > len(
                set(zip(*parts.values(), strict=True))
            ):
                parts[name] = known[name]
                rows = (*rows, name)
    by_hand = {o.lstrip("+").partition("=")[0] for r in runs for o in r.record.overrides}
    while mixed := _mixed_settings(runs, TableSpec(rows, cols, over)):
        usable = {k: v for k, v in mixed.items() if k not in RECORD_FIELDS}
        if not usable:
            rows = (*rows, next(iter(mixed)))
            continue
        rows = (*rows, min(usable, key=lambda k: (k not in by_hand, k.count("."), len(k), k)))
    return rows or (("model",) if "model" not in taken else ("label",))


def _mixed_settings(runs: Sequence[Run], spec: TableSpec) -> dict[str, list[Any]]:
    """The keys, with their values, in which finished runs of one atom differ, for the first such atom."""
    for members in group_runs([r for r in runs if r.scored], spec).values():
        if len(members) > 1 and (found := setting_differences(members, spec)):
            return {k: v for k, v in found.items() if k not in spec.keys}
    return {}


def require_keys(keys: Sequence[str], runs: Sequence[Run], option: str) -> None:
    """Raise ReportError for a key that no record has, or that names a group of settings instead of one."""
    for key in keys:
        if key in RECORD_FIELDS or key in OTHER_KEYS:
            continue
        found = [v for r in runs if (v := lookup(r.record.config, key)) is not None]
        if any(isinstance(v, dict) for v in found):
            inside = next(v for v in found if isinstance(v, dict))
            raise ReportError(
                f"{option} {key} names a group of settings; name one below it: "
                f"{', '.join(f'{key}.{k}' for k in leaf_paths(inside)[:12])}"
            )
        if not found and not any(has_key(r.record.config, key) for r in runs):
            known = [
                *RECORD_FIELDS,
                *OTHER_KEYS,
                *{k for r in runs[:200] for k in leaf_paths(r.record.config)},
            ]
            raise ReportError(
                f"{option} {key}: no record has this key.{suggestion(key, known)} Any dotted key of the config, or "
                f"{', '.join((*RECORD_FIELDS, *OTHER_KEYS))}"
            )


def has_key(config: Any, path: str) -> bool:
    """Whether a config has a dotted path, even if its value is null."""
    for part in path.split("."):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True
