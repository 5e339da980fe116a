"""What runs are called on the page: setting and seed, and which runs are seeds of one setting."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from isosweep.record.key import EXCLUDED
from isosweep.report.cells import TableSpec
from isosweep.report.checks import setting_differences
from isosweep.report.collect import Run
from isosweep.report.default_keys import CANDIDATES, default_rows
from isosweep.report.keys import is_within, short_key, value_text

MOST_KEYS = 3
DIGITS = 4
"""Significant digits of a number in a name."""


@dataclass(frozen=True)
class RunName:
    """``setting`` and ``seed`` ('neus hashgrid', 's0') are the name; the scene is shown beside it.

    ``parts`` are the parts of the setting by key, so that a list can show only what differs in it. Runs with one
    ``group`` are seeds and scenes of one setting: names are rounded, groups are not.
    """

    setting: str
    seed: str
    parts: dict[str, str]
    group: int = 0


def run_id(run: Run) -> str:
    """12 hex digits that identify a run in file names and links, from its run key or, if external, its folder."""
    own = run.record.run_key if not run.external else ""  # as collect.py distinguishes them
    named = (own or os.path.realpath(run.folder)).encode(errors="surrogatepass")
    return hashlib.sha256(named).hexdigest()[:12]


def run_names(runs: Sequence[Run]) -> tuple[list[RunName], list[str]]:
    """The names of all runs, and the keys in which their settings differ: those of the names, and those set by hand.

    Runs of one scene that would have the same name also get up to MOST_KEYS keys in which they differ, or else the
    beginning of their run key.
    """
    rows = default_rows(runs, ("dataset", "scene"), ("seed",))
    used = [rows] * len(runs)
    made = [_name(r, rows) for r in runs]
    same: dict[tuple[str, str, str, str], list[int]] = {}
    for i, run in enumerate(runs):
        same.setdefault((run.record.dataset, run.record.scene, made[i].setting, made[i].seed), []).append(i)
    for group in same.values():
        if len(group) == 1:
            continue
        more = list(setting_differences([runs[i] for i in group], TableSpec(rows, ("dataset", "scene"))))
        by_hand = {o.lstrip("+").partition("=")[0] for i in group for o in runs[i].record.overrides}
        more = sorted(more, key=lambda k: (k not in by_hand, len(k)))[:MOST_KEYS]
        names = [_name(runs[i], (*rows, *more)) for i in group]
        settings = [n.setting for n in names]
        for i, name in zip(group, names, strict=True):
            used[i] = (*rows, *more)
            if settings.count(name.setting) > 1:
                mark = f"#{(runs[i].record.run_key or run_id(runs[i]))[:6]}"
                name = replace(name, setting=f"{name.setting} {mark}", parts={**name.parts, "run": mark})
            made[i] = name
    numbers: dict[Any, int] = {}
    for i, run in enumerate(runs):
        exact = (tuple((k, value_text(run.get(k))) for k in used[i]), made[i].parts.get("run"))
        made[i] = replace(made[i], group=numbers.setdefault(exact, len(numbers)))
    by_hand = {o.lstrip("+").partition("=")[0] for r in runs for o in r.record.overrides}
    swept = sorted(k for k in by_hand if "." in k and not is_within(k, EXCLUDED))
    keys = dict.fromkeys([*(k for own in used for k in own), *swept])
    several = [k for k in keys if len({r.get(k) for r in runs}) > 1]
    return made, [k for k in several if k not in CANDIDATES or not any("label" in n.parts for n in made)]


def _name(run: Run, keys: Sequence[str]) -> RunName:
    parts = {k: _brief(run.get(k)) for k in keys if k in CANDIDATES and run.get(k) not in (None, "")}
    label = parts.get("label", "")
    words = label.split("-")
    # a label is composed of the others, which it need not repeat
    parts = {k: v for k, v in parts.items() if k == "label" or not set(v.split("-")) <= set(words)}
    if not parts:
        parts["label"] = run.record.label or run.record.model
    further = {short_key(k, keys): _brief(run.get(k)) for k in keys if k not in CANDIDATES}
    setting = " ".join([*parts.values(), *(f"{k}={v}" for k, v in further.items())])
    seed = "" if run.record.seed is None else f"s{run.record.seed}"
    return RunName(setting, seed, parts | further)


def _brief(value: Any) -> str:
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else value_text(value)
