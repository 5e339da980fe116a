"""What may not stand in one cell, or side by side in one table; refused unless it is allowed by name."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from isosweep.record.code_version import representative
from isosweep.record.key import essential, matters, term_is_off
from isosweep.report.cells import Key, Place, Spec, describe
from isosweep.report.collect import Run
from isosweep.report.keys import OWN, below, differences, text
from isosweep.report.metrics import Metric, base, is_image, value

Kind = Literal["protocol", "score setting", "code", "setting", "seed"]
ALLOW_WORD: Mapping[Kind, str] = {
    "protocol": "protocol", "score setting": "protocol", "code": "code", "setting": "settings", "seed": "settings",
}  # fmt: skip

NOT_COMPARED = (
    "step", "seed", "sample_seed", "mesh", "mesh_sha256", "transform", "vertices", "faces", "faces_after_culling",
    "points_in_box", "points_observed", "mesh_within_cap", "scan_within_cap", "paired_by",
)  # fmt: skip
"""Score settings that belong to the result, not to the scoring: with checkpoint=best each seed has its own step."""
IMAGES_ONLY = (
    "split", "held_out", "n_views", "views_of_split", "background", "composite", "quantise", "pixel_centre",
    "data_range", "psnr_cap_db", "ssim", "lpips_weights", "lpips", "views", "crop",
)  # fmt: skip
GEOMETRY_ONLY = ("world_unit", "samples", "sample_seed", "fscore_at", "visibility", "visual_hull")
OF_ONE = {"ssim": "ssim", "lpips_weights": "lpips", "lpips": "lpips", "psnr_cap_db": "psnr"}
GEOMETRY_CONFIG = ("export.resolution", "export.level", "export.largest_component", "dataset.truth")
"""Config keys outside the run key that decide the mesh, and what it is scored against."""
SHOWN = 8


@dataclass(frozen=True)
class Conflict:
    """One key in which runs differ that should not. ``key`` is what ``--allow`` takes for it alone."""

    kind: Kind
    where: str
    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}: {', '.join(self.values)}"


def check(
    atoms: Mapping[tuple[Key, Place], Sequence[Run]],
    spec: Spec,
    metrics: Sequence[tuple[Metric, Counter[str]]],
) -> list[Conflict]:
    """Everything that forbids the table, in the order in which to mend it. Only runs with scores are judged.

    What a record does not say (another program's has no config and no code hash) is not held against it.
    """
    found: list[Conflict] = []
    for metric, names in metrics:
        if len(names) > 1:
            values = tuple(f"{n} ({c} runs)" for n, c in names.items())
            found.append(Conflict("protocol", "the table", metric.asked, values))
    scored = {key: [r for r in members if r.scored] for key, members in atoms.items()}
    ranked = [m for m, _ in metrics if not m.cost]
    if "protocol" not in spec.keys:
        found += _protocols(scored, spec, ranked)
    for (row, place), members in scored.items():
        if len(members) > 1:
            found += _settings(_name(spec, row, place), members, spec, ranked)
    if "code_hash" not in spec.keys:
        lines: dict[tuple[Key, str], list[Run]] = {}
        for (row, place), members in scored.items():  # a data set's mean is a cell as well
            lines.setdefault((row, place.dataset), []).extend(members)
        for (row, dataset), members in lines.items():
            where = f"{describe(spec.rows, row)} on {dataset}"
            found += _code(where, members)
    return found + _score_settings(scored, spec, ranked)


def split(found: Iterable[Conflict], allow: Sequence[str]) -> tuple[list[Conflict], list[Conflict]]:
    """(refused, tolerated) by the words and keys of ``--allow``."""
    refused: list[Conflict] = []
    tolerated: list[Conflict] = []
    for conflict in found:
        good = ALLOW_WORD[conflict.kind] in allow or below(conflict.key, allow)
        (tolerated if good else refused).append(conflict)
    return refused, tolerated


def refusal(refused: Sequence[Conflict]) -> str:
    """The message: every place with its differing keys and values, and what to do."""
    places: dict[str, list[Conflict]] = {}
    for conflict in refused:
        places.setdefault(conflict.where, []).append(conflict)
    lines = ["these numbers cannot stand in one table, and nothing was written:"]
    alike: dict[tuple[str, str], list[str]] = {}
    for where, conflicts in places.items():
        alike.setdefault((conflicts[0].kind, conflicts[0].key), []).append(where)
    for where, *others in list(alike.values())[:SHOWN]:
        conflicts = places[where]
        lines.append(f"  {where}:")
        lines += [f"    {c}" for c in conflicts[:SHOWN]]
        if len(conflicts) > SHOWN:
            rest = ", ".join(c.key for c in conflicts[SHOWN : SHOWN + 12])
            lines.append(f"    and {len(conflicts) - SHOWN} more: {rest}")
        if others:
            more = "" if len(others) <= SHOWN else " ..."
            lines.append(f"    likewise in {len(others)} more: {'; '.join(others[:SHOWN])}{more}")
    if len(alike) > SHOWN:
        lines.append(f"  and {len(alike) - SHOWN} more kinds of differences")
    kinds = {c.kind for c in refused}
    if "setting" in kinds:
        key = next(c.key for c in refused if c.kind == "setting")
        lines.append(f"make it a row or column (--rows ...,{key}), or choose one value (--where {key}=...)")
    if "seed" in kinds:
        lines.append("give each run its own seed, or remove the record that does not count")
    if "protocol" in kinds and any(c.key != "protocol" for c in refused if c.kind == "protocol"):
        full = next(c for c in refused if c.kind == "protocol" and c.key != "protocol")
        lines.append(
            f"mixed protocols: name one, e.g. --metrics {full.values[0].split()[0]}, and its runs by --where"
        )
    elif "protocol" in kinds:
        lines.append(
            "mixed protocols: choose one (--where protocol=...), or make it a row (--rows ...,protocol)"
        )
    if "score setting" in kinds:
        lines.append("score them again alike: the same command with mode=eval; nothing is trained again")
    if "code" in kinds:
        lines.append("train them again with one code (run.force=true), or choose (--where code_hash=...)")
    words = sorted({ALLOW_WORD[c.kind] for c in refused})
    lines.append(
        f"or tolerate it, and have it printed under the table: --allow {','.join(words)}, or a key alone"
    )
    return "\n".join(lines)


def setting_differences(members: Sequence[Run], spec: Spec) -> dict[str, list[Any]]:
    """Own field or dotted config key -> its values, where runs differ in more than ``over``, rows and columns."""
    free = (*spec.over, *spec.keys, "scene", "dataset.scene")
    found: dict[str, list[Any]] = {}
    for name in OWN:
        values = list(dict.fromkeys(v for r in members if (v := getattr(r.record, name)) not in (None, "")))
        if len(values) > 1 and name not in free:
            found[name] = values
    saying = [r for r in members if r.record.config and not r.external]
    if len(saying) > 1:
        first = saying[0].record.config
        for other in saying[1:]:
            for path, (a, b) in differences(first, other.record.config).items():
                # `model` is no word on the keys below `model.`
                if (
                    path not in free
                    and matters(path, a, b)
                    and not _of_no_term(path, first, other.record.config)
                ):
                    values = found.setdefault(path, [a])
                    if b not in values:
                        values.append(b)
    return found


def _of_no_term(path: str, *configs: Mapping[str, Any]) -> bool:
    """Whether a path lies below a loss term that is off in all of the configs."""
    parts = path.split(".")
    return (
        parts[:2] == ["loss", "terms"] and len(parts) > 2 and all(term_is_off(c, parts[2]) for c in configs)
    )


def _name(spec: Spec, row: Key, place: Place) -> str:
    scene = () if "scene" in spec.keys else (f"scene={place.scene}",)
    return ", ".join(x for x in (describe(spec.rows, row), describe(spec.cols, place.col), *scene) if x)


def _protocols(
    scored: Mapping[tuple[Key, Place], Sequence[Run]], spec: Spec, metrics: Sequence[Metric]
) -> list[Conflict]:
    """One protocol for each metric, in all our rows and within each external row.

    An external row under another protocol stands beside ours unranked (document.py); where all rows are
    external they share one.
    """
    found: dict[tuple[str, tuple[str, ...]], Conflict] = {}
    for metric in metrics:
        rows: dict[tuple[Key, str], list[Run]] = {}
        for (row, place), members in scored.items():
            having = [r for r in members if value(r, metric)[0] is not None]
            rows.setdefault((row, place.dataset), []).extend(having)
        every = [r for members in rows.values() for r in members]
        table = [r for r in every if not r.external] or every
        conflicts = _differ("protocol", "the table", "protocol", table, lambda r: r.get("protocol"))
        if not conflicts:
            for (row, dataset), members in rows.items():
                where = f"{describe(spec.rows, row)} on {dataset}"
                conflicts += _differ("protocol", where, "protocol", members, lambda r: r.get("protocol"))
        for conflict in conflicts:
            found.setdefault((conflict.where, conflict.values), conflict)
    return list(found.values())


def _settings(where: str, members: Sequence[Run], spec: Spec, metrics: Sequence[Metric]) -> list[Conflict]:
    differing = setting_differences(members, spec)
    if any(k in differing for k in ("model", "encoding", "loss")):
        differing.pop("label", None)  # made of them
    names = sorted(differing, key=lambda k: (k not in OWN, not _set_by_hand(k, members), k.count("."), k))
    found = [Conflict("setting", where, k, tuple(text(v) for v in differing[k][:6])) for k in names]
    if not found:
        seeds: dict[Key, list[Run]] = {}
        for run in members:
            seeds.setdefault(tuple([run.get(k) for k in spec.over]), []).append(run)
        for over, runs in seeds.items():
            if len(runs) > 1 and any(sum(value(r, m)[0] is not None for r in runs) > 1 for m in metrics):
                said = describe(spec.over, over) or "not said"
                found.append(Conflict("seed", where, said, tuple(r.folder for r in runs[:4])))
    return found


def _set_by_hand(key: str, members: Sequence[Run]) -> bool:
    return any(o.lstrip("+").startswith(f"{key}=") for r in members for o in r.record.overrides)


def _code(where: str, runs: Sequence[Run]) -> list[Conflict]:
    """Runs of different numerical code, but for code that is known to give the same numbers."""
    if len({representative(r.code) for r in runs if r.code}) < 2:
        return []
    return _differ("code", where, "code_hash", runs, lambda r: r.code)


def _differ(
    kind: Kind, where: str, key: str, runs: Sequence[Run], get: Callable[[Run], Any]
) -> list[Conflict]:
    counts = Counter(v for r in runs if (v := get(r)))
    if len(counts) < 2:
        return []
    return [Conflict(kind, where, key, tuple(f"{v} ({n} runs)" for v, n in counts.most_common(6)))]


def _score_settings(
    scored: Mapping[tuple[Key, Place], Sequence[Run]], spec: Spec, metrics: Sequence[Metric]
) -> list[Conflict]:
    """Score settings within a scene and protocol, over all rows: another background or culling makes other numbers."""
    scenes: dict[tuple[str, str, str], list[Run]] = {}
    for (_, place), members in scored.items():
        for run in members:
            protocol = run.get("protocol") or ""
            scenes.setdefault((place.dataset, place.scene, protocol), []).append(run)
    found: dict[tuple[str, str], Conflict] = {}
    for (dataset, scene, _), members in scenes.items():
        for metric in metrics:
            having = [r for r in members if value(r, metric)[0] is not None]
            for key, values in _differing_settings(having, metric).items():
                if key not in spec.keys:
                    where = f"scene {dataset}/{scene}, {metric.name}"
                    found.setdefault((where, key), Conflict("score setting", where, key, values))
    return list(found.values())


def _differing_settings(runs: Sequence[Run], metric: Metric) -> dict[str, tuple[str, ...]]:
    kept: dict[str, list[Any]] = {}
    last: Mapping[str, Any] | None = None
    for run in runs:
        settings = run.record.scores.settings if run.record.scores is not None else {}
        if settings != last:  # most are equal to their neighbour's: a quick way past them
            last = settings
            for key, seen in settings.items():
                if key not in NOT_COMPARED and _concerns(key, metric):
                    values = kept.setdefault(f"scores.{key}", [])
                    if seen not in values:
                        values.append(seen)
        if not is_image(metric.name) and run.record.config:
            for path in GEOMETRY_CONFIG:
                group, _, name = path.partition(".")
                part = run.record.config.get(group)
                if isinstance(part, dict) and name in part:
                    values = kept.setdefault(path, [])
                    if part[name] not in values:
                        values.append(part[name])
    return {key: tuple(text(v) for v in values[:6]) for key, values in kept.items() if len(values) > 1}


def _concerns(key: str, metric: Metric) -> bool:
    if key in OF_ONE:
        return base(metric.name) == OF_ONE[key]
    if metric.name == "geometry/silhouette_iou":
        return key in ("split", "n_views", "views_of_split") or key not in (*IMAGES_ONLY, *GEOMETRY_ONLY)
    return key not in (GEOMETRY_ONLY if is_image(metric.name) else IMAGES_ONLY)


COMMON = ("train", "optim", "dataset", "backend", "device")
"""Config groups that every model has: where rows, or a row's scenes, differ in them the table says so."""


def side_notes(atoms: Mapping[tuple[Key, Place], Sequence[Run]], spec: Spec) -> list[str]:
    """Settings in which rows, or the scenes of a row, differ and that no key of the table names: said, not refused."""
    firsts = {
        key: next((r for r in members if r.scored and r.record.config and not r.external), None)
        for key, members in atoms.items()
    }
    across: dict[str, list[str]] = {}
    within: dict[str, list[str]] = {}
    heads: dict[tuple[str, Any], Run] = {}
    for (row, place), run in firsts.items():
        if run is None:
            continue
        for found, key in ((across, ("place", place)), (within, ("row", (row, place.dataset)))):
            head = heads.setdefault(key, run)
            a, b = ({k: v for k, v in essential(r.record.config).items() if k in COMMON} for r in (head, run))
            for path, values in differences(a, b).items():
                if path not in (*spec.keys, *spec.over, "dataset.scene"):
                    seen = found.setdefault(path, [])
                    seen += [w for v in values if (w := text(v)) not in seen]
    notes = []
    for found, what in ((across, "Rows"), (within, "Scenes of a row")):
        if found:
            said = "; ".join(f"{k} ({', '.join(v[:6])})" for k, v in sorted(found.items())[:SHOWN])
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            notes.append(f"{what} also differ in settings: {said}{more}.")
    return notes
