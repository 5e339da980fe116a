"""Notes on settings in which rows or scenes of a table differ, although no key of the table names them."""

from collections.abc import Mapping, Sequence
from typing import Any

from isosweep.record.key import essential
from isosweep.report.cells import Key, Place, TableSpec
from isosweep.report.checks import MOST_SHOWN, VALIDATION
from isosweep.report.collect import Run
from isosweep.report.keys import config_differences, value_text

COMMON = ("train", "optim", "dataset", "backend", "device")
"""Config groups that every model has. A note names the keys of these groups in which rows or scenes differ."""


Groups = dict[tuple[str, bool, int], dict[str, Any]]
"""Name of a group, whether its run is of another program, and the group's identity -> what of it decides a result."""


def difference_notes(atoms: Mapping[tuple[Key, Place], Sequence[Run]], spec: TableSpec) -> list[str]:
    """Notes on settings in which rows, or the scenes of a row, differ although no key of the table names them.

    Such differences are allowed: rows are compared because they differ.
    """
    firsts = {
        key: next((r for r in members if r.scored and r.record.config and not r.external), None)
        for key, members in atoms.items()
    }
    across: dict[str, list[str]] = {}
    within: dict[str, list[str]] = {}
    heads: dict[tuple[str, Any], Run] = {}
    known: Groups = {}
    for (row, place), run in firsts.items():
        if run is None:
            continue
        for found, key in ((across, ("place", place)), (within, ("row", (row, place.dataset)))):
            head = heads.setdefault(key, run)
            both = [_common(r.record.config, known) for r in (head, run)]
            shared = [k for k in COMMON if all(k in one for one in both)]  # a method that is not ours has few
            a, b = ({k: one[k] for k in shared} for one in both)
            for path, values in config_differences(a, b).items():
                of_best = "best" in (head.record.scores_of, run.record.scores_of)
                if path not in (*spec.keys, *spec.over, "dataset.scene", *(() if of_best else VALIDATION)):
                    seen = found.setdefault(path, [])
                    seen += [w for v in values if (w := value_text(v)) not in seen]
    notes = []
    for found, what in ((across, "Rows"), (within, "Scenes of a row")):
        if found:
            listed = "; ".join(f"{k} ({', '.join(v[:6])})" for k, v in sorted(found.items())[:MOST_SHOWN])
            more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
            notes.append(f"{what} also differ in settings: {listed}{more}.")
    return notes


def _common(config: Mapping[str, Any], known: Groups) -> dict[str, Any]:
    """What of the groups of ``COMMON`` decides a result. Thousands of runs share few groups (collect.py): each is
    looked at once, so that equal ones stay one object and need not be compared."""
    method = {"method": config["method"]} if config.get("method") is not None else {}
    found = {}
    for name in COMMON:
        if name in config:
            same = (name, bool(method), id(config[name]))
            if same not in known:
                known[same] = essential({name: config[name], **method})
            if name in known[same]:
                found[name] = known[same][name]
    return found
