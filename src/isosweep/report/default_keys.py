"""Chooses the row keys when the user names none."""

from collections.abc import Sequence
from typing import Any

from isosweep.report.cells import TableSpec, group_runs
from isosweep.report.checks import setting_differences
from isosweep.report.collect import Run
from isosweep.report.keys import RECORD_FIELDS

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
