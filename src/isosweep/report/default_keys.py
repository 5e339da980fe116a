"""Rows and columns for who names none: what varies in the set; and whether named keys exist."""

from collections.abc import Sequence
from typing import Any

from isosweep.report.cells import Spec, group
from isosweep.report.checks import setting_differences
from isosweep.report.collect import Run
from isosweep.report.keys import FURTHER, OWN, ReportError, leaves, lookup, near

CANDIDATES = ("model", "encoding", "loss", "label")


def default_rows(runs: Sequence[Run], cols: tuple[str, ...], over: tuple[str, ...]) -> tuple[str, ...]:
    """The fewest keys that keep runs of different settings apart: model, encoding, loss, then config keys.

    A key is taken only where it splits what the earlier ones leave together; of keys that vary
    together the one that somebody set on the command line, then the shortest.
    """
    taken = (*cols, *over)
    rows: tuple[str, ...] = ()
    known = {name: [r.get(name) for r in runs] for name in ("dataset", "scene", *cols, *CANDIDATES)}
    parts = {name: known[name] for name in ("dataset", "scene", *cols)}
    for name in CANDIDATES:
        if name not in taken and len(set(known[name])) > 1:
            if name == "label" and not _mixed(runs, Spec(rows, cols, over)):
                continue
            if len(set(zip(*parts.values(), known[name], strict=True))) > len(
                set(zip(*parts.values(), strict=True))
            ):
                parts[name] = known[name]
                rows = (*rows, name)
    by_hand = {o.lstrip("+").partition("=")[0] for r in runs for o in r.record.overrides}
    while mixed := _mixed(runs, Spec(rows, cols, over)):
        usable = {k: v for k, v in mixed.items() if k not in OWN}
        if not usable:
            rows = (*rows, next(iter(mixed)))
            continue
        rows = (*rows, min(usable, key=lambda k: (k not in by_hand, k.count("."), len(k), k)))
    return rows or (("model",) if "model" not in taken else ("label",))


def _mixed(runs: Sequence[Run], spec: Spec) -> dict[str, list[Any]]:
    """Keys in which finished runs of one atom differ, of the first atom where any does."""
    for members in group([r for r in runs if r.scored], spec).values():
        if len(members) > 1 and (found := setting_differences(members, spec)):
            return {k: v for k, v in found.items() if k not in spec.keys}
    return {}


def require(keys: Sequence[str], runs: Sequence[Run], option: str) -> None:
    """ReportError for a key that no record has, or that names a group of keys instead of one."""
    for key in keys:
        if key in OWN or key in FURTHER:
            continue
        found = [v for r in runs if (v := lookup(r.record.config, key)) is not None]
        if any(isinstance(v, dict) for v in found):
            inside = next(v for v in found if isinstance(v, dict))
            raise ReportError(
                f"{option} {key} names a group of settings; name one below it: "
                f"{', '.join(f'{key}.{k}' for k in leaves(inside)[:12])}"
            )
        if not found and not any(present(r.record.config, key) for r in runs):
            known = [*OWN, *FURTHER, *{k for r in runs[:200] for k in leaves(r.record.config)}]
            raise ReportError(
                f"{option} {key}: no record has this key.{near(key, known)} Any dotted key of the config, or "
                f"{', '.join((*OWN, *FURTHER))}"
            )


def present(config: Any, path: str) -> bool:
    """Whether a config has a dotted path, be its value null."""
    for part in path.split("."):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True
