"""What the page says of a run: its name, keys and scores in the index, and the details that it loads on demand."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from isosweep.errors import InputError
from isosweep.record.reading import Unreadable, json_values, read_whole
from isosweep.record.schema import RECORD_FILE
from isosweep.report.browse.guard import guarded, regular
from isosweep.report.browse.names import run_id, run_names
from isosweep.report.browse.textures import has_texture
from isosweep.report.collect import Run
from isosweep.report.keys import RECORD_FIELDS, hashable, leaf_paths, lookup, value_text
from isosweep.report.metrics import choose_metrics, metric_value

LOG_FILE = "run.log"
METRICS_FILE = "metrics.jsonl"
LOG_LINES, LOG_BYTES = 80, 16_000
COSTS = ("time", "memory")
EXTRA_KEYS = ("name", "device_name", "code_hash", "protocol")
WORLD_UP = {"demo": "z", "blender": "z"}
"""Data set -> the axis that points up in its world. Elsewhere it is -y, as in worlds from structure from motion."""


def sound_runs(runs: Sequence[Run], broken: dict[str, str]) -> list[Run]:
    """The runs of which name, keys, scores and state can be told; each of the others is added to ``broken``."""
    kept = []
    for run in runs:
        notes: list[str] = []

        def tell(run: Run = run) -> bool:
            for read in (run_names, run_keys, partial(run_metrics, digits={})):
                read([run])
            run_id(run)
            run_state(run)
            return True

        if guarded("its values cannot be shown", tell, False, notes):
            kept.append(run)
        else:
            broken[f"{run.folder}/{RECORD_FILE}"] = notes[0]
    return kept


@dataclass(frozen=True)
class KeyValues:
    """Values of keys over all runs: ``differ`` maps a key to one value per run, ``same`` to the value of all runs."""

    differ: dict[str, list[Any]]
    same: dict[str, Any]


def run_keys(runs: Sequence[Run]) -> KeyValues:
    """Every record field and every config key that any run has; None for a run that lacks one."""
    names = [*RECORD_FIELDS, *EXTRA_KEYS]
    names += sorted({k for r in runs for k in leaf_paths(r.record.config)} - set(names))
    columns = {name: [_plain(r.get(name)) for r in runs] for name in names}
    kept = {k: v for k, v in columns.items() if any(x not in (None, "") for x in v)}
    same = {k: v[0] for k, v in kept.items() if all(x == v[0] for x in v)}
    return KeyValues({k: v for k, v in kept.items() if k not in same}, same)


def run_metrics(
    runs: Sequence[Run], digits: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """The page's number columns (every score of any run, then the costs), and each run's numbers, None if missing."""
    have = sorted({n for r in runs if r.scored and r.record.scores for n in r.record.scores.values})
    first = [m.name for m, _ in choose_metrics((), runs, digits)] if have else []
    chosen = [
        m for m, _ in choose_metrics([*first, *(n for n in have if n not in first), *COSTS], runs, digits)
    ]
    heads = [
        {
            "name": m.name, "title": m.title, "direction": m.direction, "digits": m.digits,
            "shown": m.name in first or m.name == "time",
        }
        for m in chosen
    ]  # fmt: skip
    return heads, [[metric_value(r, m)[0] if r.scored or m.cost else None for m in chosen] for r in runs]


def run_state(run: Run) -> tuple[str, str]:
    """'finished' and '', or the state of a run without scores and its cause."""
    return ("finished", "") if run.scored else run.why_not_scored()


def run_details(run: Run) -> tuple[dict[str, Any], str]:
    """What the page shows of a run on demand, and a message if the record cannot be read ('' if it can).

    The whole record is read again, because tables keep neither tracebacks nor scores per view. A record of another
    program may lack any field, or have a value of another type in it.
    """
    try:
        whole = _mapping(json_values(read_whole(f"{run.folder}/{RECORD_FILE}")))
    except (OSError, Unreadable) as error:
        return {"config": flatten(run.record.config)}, f"{RECORD_FILE} cannot be read again: {error}"
    scores, error, git = (_mapping(whole.get(k)) for k in ("scores", "error", "git"))
    times, memory = _mapping(whole.get("times")), _mapping(whole.get("memory"))
    facts: dict[str, Any] = {
        "status": whole.get("status"),
        "steps": f"{whole.get('steps_done')} of {whole.get('max_steps')}" if whole.get("max_steps") else None,
        **{f"times.{k}": v for k, v in times.items()},
        **{f"memory.{k}": v for k, v in memory.items()},
        **{k: whole.get(k) for k in ("device", "backend", "threads", "code_hash", "scores_of")},
        **{f"git.{k}": v for k, v in git.items()},
        **{f"versions.{k}": v for k, v in _mapping(whole.get("versions")).items()},
        **{f"scores.{k}": v for k, v in _mapping(scores.get("settings")).items()},
    }
    attempts, wrong = whole.get("attempts"), ""
    if not _are_per_view(scores.get("per_view")):
        wrong = "the scores of single views in its record are not numbers by score and view"
    return {
        "config": flatten(run.record.config),
        "facts": {k: value_text(hashable(v)) for k, v in facts.items() if v not in (None, "")},
        "overrides": [str(o) for o in run.record.overrides],
        "reasons": {str(k): str(v) for k, v in _mapping(scores.get("reasons")).items()},
        "per_view": _per_view(_mapping(scores.get("per_view"))),
        "error": {k: str(v) for k, v in error.items() if v} or None,
        "attempts": [
            " ".join(str(a[k]) for k in ("started", "action", "host", "status") if a.get(k))
            for a in (attempts if isinstance(attempts, list) else []) if isinstance(a, dict)
        ],
        "log": log_tail(Path(run.folder, LOG_FILE)),
    }, wrong  # fmt: skip


def misplaced(run: Run) -> list[str]:
    """What stands where a file or a folder of a run should, and is none; it is not read."""
    found = []
    for name, is_folder in (("mesh.ply", False), (METRICS_FILE, False), (LOG_FILE, False), ("renders", True)):
        path = Path(run.folder, name)
        if is_folder and path.exists() and not path.is_dir():
            found.append(f"{name} is not a folder")
        elif not is_folder and path.is_dir():
            found.append(f"{name} is a folder, not a file")
    return found


def view_psnr(details: Mapping[str, Any], view: str) -> float | None:
    """The PSNR of one view of a run's details: of held-out views, or of training views where there are no others."""
    scores = details.get("per_view", {}).get(view, {})
    return next((scores[n] for n in ("nvs/psnr", "train_view/psnr") if n in scores), None)


def mesh_path(run: Run) -> Path | None:
    """The mesh file of a run: the one that its record names, else mesh.ply; None for one outside the run's folder."""
    return _file_of(run, "mesh", "mesh.ply")


def textured_path(run: Run) -> Path | None:
    """The file of a run's mesh with a texture, glb before obj; None without one, or for one outside its folder."""
    for ending in ("glb", "obj"):
        path = _file_of(run, f"mesh_{ending}", f"mesh.{ending}")
        if path is not None and has_texture(path):
            return path
    return None


def _file_of(run: Run, artifact: str, usual: str) -> Path | None:
    folder = Path(run.folder)
    try:
        whole = _mapping(json_values(read_whole(f"{run.folder}/{RECORD_FILE}")))
        named = _mapping(whole.get("artifacts")).get(artifact)
    except (OSError, Unreadable):
        named = None
    for name in (named, usual):
        if isinstance(name, str) and (folder / name).is_file():
            return folder / name if (folder / name).resolve().is_relative_to(folder.resolve()) else None
    return None


def log_tail(path: Path) -> str:
    """The last LOG_LINES lines of a log; '' if it cannot be read."""
    try:
        with regular(path).open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-LOG_LINES:])
    except (OSError, InputError):
        return ""


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as one mapping from dotted key to value."""
    return {k: _plain(hashable(lookup(config, k))) for k in leaf_paths(config)}


def view_file(name: str) -> str:
    """The stem of a view's files, from its name in the record: 'test/r_0' -> 'test_r_0' (see ViewWriter)."""
    kept = "".join(c if c.isalnum() or c in "_.-" else "\0" for c in name)
    return "_".join(p for p in kept.split("\0") if p).strip("._")


def _are_per_view(found: Any) -> bool:
    """Whether it is score -> view -> number or null; a record need not have it."""
    if found is None:
        return True
    groups = list(found.values()) if isinstance(found, dict) else [found]
    numbers = [v for views in groups if isinstance(views, dict) for v in views.values()]
    return all(isinstance(g, dict) for g in groups) and all(
        v is None or isinstance(v, int | float) for v in numbers
    )


def _per_view(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The scores per view, by the stem of the view's files and then by metric."""
    made: dict[str, dict[str, Any]] = {}
    for metric, views in found.items():
        for view, number in _mapping(views).items():
            if isinstance(number, int | float):
                made.setdefault(view_file(view), {})[metric] = number
    return made


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> Any:
    """A value as the page shows it: floats to 12 significant digits, everything else unchanged."""
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.12g}")
    return value
