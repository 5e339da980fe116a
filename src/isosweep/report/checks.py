"""Finds differences that make numbers incomparable. A table with one is refused unless --allow names it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from isosweep.record.code_version import representative
from isosweep.record.key import AS_BEFORE, matters, term_is_off
from isosweep.report.cells import Key, Place, TableSpec, keys_text
from isosweep.report.collect import Run
from isosweep.report.keys import RECORD_FIELDS, config_differences, is_within, value_text
from isosweep.report.metrics import RENDERED, Metric, base_name, is_image, metric_value

Kind = Literal["protocol", "score setting", "code", "setting", "seed"]
ALLOW_WORD: Mapping[Kind, str] = {
    "protocol": "protocol", "score setting": "protocol", "code": "code", "setting": "settings",
}  # fmt: skip
"""Kind of difference -> the word of --allow for it. Two runs of one seed are tolerated by none: n would not count
independent runs."""

NOT_COMPARED = (
    "step", "seed", "sample_seed", "method", "mesh", "mesh_sha256", "transform", "vertices", "faces",
    "faces_after_culling", "points_in_box", "points_observed", "mesh_within_cap", "scan_within_cap", "paired_by",
    "icp_moved_mm",
)  # fmt: skip
"""Score settings that describe the result, not the scoring: with checkpoint=best each seed has its own ``step``."""
IMAGES_ONLY = (
    "split", "held_out", "n_views", "views_of_split", "background", "composite", "quantise", "pixel_centre",
    "data_range", "psnr_cap_db", "ssim", "lpips_weights", "lpips", "views", "crop", "ignored_pixels", "sizes",
)  # fmt: skip
GEOMETRY_ONLY = ("world_unit", "samples", "sample_seed", "fscore_at", "visibility", "visual_hull")
ONE_SCORE_ONLY = {"ssim": "ssim", "lpips_weights": "lpips", "lpips": "lpips", "psnr_cap_db": "psnr"}
"""Score setting -> the only score that it concerns."""
GEOMETRY_CONFIG = (
    "export.method", "export.resolution", "export.level", "export.clean", "export.largest_component",
    "export.fill_holes", "export.faces", "dataset.truth",
)  # fmt: skip
"""Config keys outside the run key that change a mesh, or the surface it is compared with."""
_BEFORE = {path: value for path, value in AS_BEFORE if path in GEOMETRY_CONFIG}
"""What those are of a run that was made before they were options."""
VALIDATION = ("train.val_every", "train.val_views")
"""Config keys that only decide which checkpoint is `best`: they change no score of the last one."""
MOST_SHOWN = 8


@dataclass(frozen=True)
class Conflict:
    """A key that must have one value among the runs of ``scope`` and has several.

    ``scope`` names a cell, a row or the table. ``--allow <key>`` tolerates the key in every scope.
    """

    kind: Kind
    scope: str
    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}: {', '.join(self.values)}"


def find_conflicts(
    atoms: Mapping[tuple[Key, Place], Sequence[Run]],
    spec: TableSpec,
    metrics: Sequence[tuple[Metric, Counter[str]]],
) -> list[Conflict]:
    """Everything that forbids the table, in the order in which a user should solve it.

    Only runs with scores are compared. What a record does not hold is not compared: another program's record has
    no config and no code hash.

    Args:
        metrics: each with the record's names for it and how many runs have each name (metrics.choose_metrics).
    """
    found: list[Conflict] = []
    for metric, names in metrics:
        if len(names) > 1:
            values = tuple(f"{n} ({c} runs)" for n, c in names.items())
            found.append(Conflict("protocol", "the table", metric.requested, values))
    scored = {key: [r for r in members if r.scored] for key, members in atoms.items()}
    ranked = [m for m, _ in metrics if not m.cost]
    if "protocol" not in spec.keys:
        found += _protocol_conflicts(scored, spec, ranked)
    for (row, place), members in scored.items():
        if len(members) > 1:
            scope = _atom_text(spec, row, place)
            found += _setting_conflicts(scope, members, spec, [m for m, _ in metrics])
    if "code_hash" not in spec.keys:
        lines: dict[tuple[Key, str], list[Run]] = {}
        for (row, place), members in scored.items():  # by data set: a mean over its scenes is one cell
            lines.setdefault((row, place.dataset), []).extend(members)
        for (row, dataset), members in lines.items():
            scope = f"{keys_text(spec.rows, row)} on {dataset}"
            found += _code_conflicts(scope, members)
    return found + _score_setting_conflicts(scored, spec, ranked)


def split_allowed(found: Iterable[Conflict], allow: Sequence[str]) -> tuple[list[Conflict], list[Conflict]]:
    """The refused and the tolerated conflicts, by the words and keys of ``--allow``."""
    refused: list[Conflict] = []
    tolerated: list[Conflict] = []
    for conflict in found:
        good = ALLOW_WORD.get(conflict.kind) in allow or is_within(conflict.key, allow)
        (tolerated if good and conflict.kind != "seed" else refused).append(conflict)
    unclear = {
        c.scope for c in refused if c.kind == "setting"
    }  # whose runs a key would separate: that comes first
    return [c for c in refused if c.kind != "seed" or c.scope not in unclear], tolerated


def refusal_message(refused: Sequence[Conflict]) -> str:
    """The error message: each scope with its differing keys and values, then what to do."""
    places: dict[str, list[Conflict]] = {}
    for conflict in refused:
        places.setdefault(conflict.scope, []).append(conflict)
    lines = ["these numbers cannot stand in one table, and nothing was written:"]
    alike: dict[tuple[str, str], list[str]] = {}
    for scope, conflicts in places.items():
        alike.setdefault((conflicts[0].kind, conflicts[0].key), []).append(scope)
    for scope, *others in list(alike.values())[:MOST_SHOWN]:
        conflicts = places[scope]
        lines.append(f"  {scope}:")
        lines += [f"    {c}" for c in conflicts[:MOST_SHOWN]]
        if len(conflicts) > MOST_SHOWN:
            rest = ", ".join(c.key for c in conflicts[MOST_SHOWN : MOST_SHOWN + 12])
            lines.append(f"    and {len(conflicts) - MOST_SHOWN} more: {rest}")
        if others:
            more = "" if len(others) <= MOST_SHOWN else " ..."
            lines.append(f"    likewise in {len(others)} more: {'; '.join(others[:MOST_SHOWN])}{more}")
    if len(alike) > MOST_SHOWN:
        lines.append(f"  and {len(alike) - MOST_SHOWN} more kinds of differences")
    kinds = {c.kind for c in refused}
    if "setting" in kinds:
        key = next(c.key for c in refused if c.kind == "setting")
        lines.append(f"make it a row or column (--rows ...,{key}), or choose one value (--where {key}=...)")
    if "seed" in kinds:
        lines.append(
            "two runs of one seed are never averaged: give each run its own seed, or leave out the record that does "
            "not count (--where, or move its folder)"
        )
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
        lines.append("score them again with equal settings: the same command with mode=eval trains nothing")
    if "code" in kinds:
        lines.append(
            "train them again with one version of the code (run.force=true), or choose one (--where code_hash=...)"
        )
    words = sorted({ALLOW_WORD[c.kind] for c in refused if c.kind in ALLOW_WORD})
    if words:
        lines.append(
            f"or tolerate it, and have it printed under the table: --allow {','.join(words)}, or a key alone"
        )
    return "\n".join(lines)


def setting_differences(members: Sequence[Run], spec: TableSpec) -> dict[str, list[Any]]:
    """Record field or dotted config key -> its values, for the keys in which the runs differ.

    Rows, columns, ``over`` and the scene are left out, and so are config keys that cannot change a result.
    """
    free = (*spec.over, *spec.keys, "scene", "dataset.scene")
    found: dict[str, list[Any]] = {}
    for name in RECORD_FIELDS:
        values = list(dict.fromkeys(v for r in members if (v := getattr(r.record, name)) not in (None, "")))
        if len(values) > 1 and name not in free:
            found[name] = values
    if all(r.record.scores_of != "best" for r in members):
        free = (*free, *VALIDATION)
    with_config = [r for r in members if r.record.config and not r.external]
    if len(with_config) > 1:
        first = with_config[0].record.config
        done = {_signature(first, free)}
        for other in with_config[1:]:
            if (signature := _signature(other.record.config, free)) in done:
                continue
            done.add(signature)
            for path, (a, b) in config_differences(first, other.record.config).items():
                # a row key `model` covers the record's field, not the config keys below `model.`
                if (
                    path not in free
                    and matters(path, a, b)
                    and not _is_of_inactive_term(path, first, other.record.config)
                ):
                    values = found.setdefault(path, [a])
                    if b not in values:
                        values.append(b)
    return found


def _signature(config: Mapping[str, Any], free: Sequence[str]) -> tuple[Any, ...]:
    """Equal for configs that have the very same groups of settings (collect.py), but for the keys that are free."""
    # a row key `model` covers the record's field, not the group
    single = {key: None for key in free if key in config and type(config[key]) is not dict}
    return (*config, *map(id, {**config, **single}.values()))


def _is_of_inactive_term(path: str, *configs: Mapping[str, Any]) -> bool:
    """Whether a path lies below a loss term that is switched off in all of the configs."""
    parts = path.split(".")
    return (
        parts[:2] == ["loss", "terms"] and len(parts) > 2 and all(term_is_off(c, parts[2]) for c in configs)
    )


def _atom_text(spec: TableSpec, row: Key, place: Place) -> str:
    scene = () if "scene" in spec.keys else (f"scene={place.scene}",)
    return ", ".join(x for x in (keys_text(spec.rows, row), keys_text(spec.cols, place.col), *scene) if x)


def _protocol_conflicts(
    scored: Mapping[tuple[Key, Place], Sequence[Run]], spec: TableSpec, metrics: Sequence[Metric]
) -> list[Conflict]:
    """Each metric must have one protocol in all our rows, and one within each external row.

    An external row of another protocol is shown but not ranked (document.py). Where all rows are external, they
    must share one protocol.
    """
    if len({r.get("protocol") for members in scored.values() for r in members}) < 2:
        return []
    found: dict[tuple[str, tuple[str, ...]], Conflict] = {}
    for metric in metrics:
        rows: dict[tuple[Key, str], list[Run]] = {}
        for (row, place), members in scored.items():
            having = [r for r in members if metric_value(r, metric)[0] is not None]
            rows.setdefault((row, place.dataset), []).extend(having)
        every = [r for members in rows.values() for r in members]
        table = [r for r in every if not r.external] or every
        conflicts = _conflicts_of("protocol", "the table", "protocol", table, lambda r: r.get("protocol"))
        if not conflicts:
            for (row, dataset), members in rows.items():
                scope = f"{keys_text(spec.rows, row)} on {dataset}"
                conflicts += _conflicts_of(
                    "protocol", scope, "protocol", members, lambda r: r.get("protocol")
                )
        for conflict in conflicts:
            found.setdefault((conflict.scope, conflict.values), conflict)
    return list(found.values())


def _setting_conflicts(
    scope: str, members: Sequence[Run], spec: TableSpec, metrics: Sequence[Metric]
) -> list[Conflict]:
    differing = setting_differences(members, spec)
    if any(k in differing for k in ("model", "encoding", "loss")):
        differing.pop("label", None)  # it is composed of these three
    names = sorted(
        differing, key=lambda k: (k not in RECORD_FIELDS, not _set_by_hand(k, members), k.count("."), k)
    )
    found = [Conflict("setting", scope, k, tuple(value_text(v) for v in differing[k][:6])) for k in names]
    seeds: dict[Key, list[Run]] = {}
    for run in members:
        seeds.setdefault(tuple([run.get(k) for k in spec.over]), []).append(run)
    for over, runs in seeds.items():
        if len(runs) < 2:
            continue
        # another program's result may have a record for its images and one for its mesh, both with its training time
        scored = [
            [r for r in runs if metric_value(r, m)[0] is not None and not (m.cost and r.external)]
            for m in metrics
        ]
        if any(len(twice) > 1 for twice in scored):
            combination = keys_text(spec.over, over) or "not named"
            found.append(Conflict("seed", scope, combination, tuple(r.folder for r in runs[:4])))
    return found


def _set_by_hand(key: str, members: Sequence[Run]) -> bool:
    return any(o.lstrip("+").startswith(f"{key}=") for r in members for o in r.record.overrides)


def _code_conflicts(scope: str, runs: Sequence[Run]) -> list[Conflict]:
    """Conflicts of runs with different numerical code; hashes that are known to give equal numbers count as one."""
    if len({representative(r.code) for r in runs if r.code}) < 2:
        return []
    return _conflicts_of("code", scope, "code_hash", runs, lambda r: r.code)


def _conflicts_of(
    kind: Kind, scope: str, key: str, runs: Sequence[Run], get: Callable[[Run], Any]
) -> list[Conflict]:
    counts = Counter(v for r in runs if (v := get(r)))
    if len(counts) < 2:
        return []
    return [Conflict(kind, scope, key, tuple(f"{v} ({n} runs)" for v, n in counts.most_common(6)))]


def _score_setting_conflicts(
    scored: Mapping[tuple[Key, Place], Sequence[Run]], spec: TableSpec, metrics: Sequence[Metric]
) -> list[Conflict]:
    """Score settings must agree within a scene and protocol, over all rows.

    Another background or another culling gives other numbers for the same model.
    """
    scenes: dict[tuple[str, str, str], list[Run]] = {}
    for (_, place), members in scored.items():
        for run in members:
            protocol = run.get("protocol") or ""
            scenes.setdefault((place.dataset, place.scene, protocol), []).append(run)
    found: dict[tuple[str, str], Conflict] = {}
    for (dataset, scene, _), members in scenes.items():
        if len({_scored_by(run) for run in members}) < 2:
            continue
        for metric in metrics:
            having = [r for r in members if metric_value(r, metric)[0] is not None]
            for key, values in _differing_settings(having, metric).items():
                if key not in spec.keys:
                    scope = f"scene {dataset}/{scene}, {metric.name}"
                    found.setdefault((scope, key), Conflict("score setting", scope, key, values))
    return list(found.values())


_GEOMETRY_GROUPS = tuple(dict.fromkeys(path.partition(".")[0] for path in GEOMETRY_CONFIG))


def _geometry_groups(run: Run) -> tuple[int, ...]:
    return tuple([id(run.record.config.get(group)) for group in _GEOMETRY_GROUPS])


def _scored_by(run: Run) -> tuple[int, ...]:
    """Equal for runs that have the very same settings of scores, and groups of settings that change a mesh."""
    return (id(run.record.scores.settings) if run.record.scores is not None else 0, *_geometry_groups(run))


def _differing_settings(runs: Sequence[Run], metric: Metric) -> dict[str, tuple[str, ...]]:
    kept: dict[str, list[Any]] = {}
    last: Mapping[str, Any] | None = None
    done: set[tuple[int, ...]] = set()
    for run in runs:
        settings = run.record.scores.settings if run.record.scores is not None else {}
        if (
            settings is not last and settings != last
        ):  # most runs have the settings of the run before; this skips them quickly
            last = settings
            for key, seen in settings.items():
                if key not in NOT_COMPARED and _affects(key, metric):
                    values = kept.setdefault(f"scores.{key}", [])
                    if seen not in values:
                        values.append(seen)
        if not is_image(metric.name) and run.record.config:
            # most runs have the very groups of a run before (collect.py), which need no second look
            if (same := _geometry_groups(run)) in done:
                continue
            done.add(same)
            for path in GEOMETRY_CONFIG:
                group, _, name = path.partition(".")
                part = run.record.config.get(group)
                if isinstance(part, dict) and (name in part or path in _BEFORE):
                    value = part.get(name, _BEFORE.get(path))
                    values = kept.setdefault(path, [])
                    if value not in values:
                        values.append(value)
    return {key: tuple(value_text(v) for v in values[:6]) for key, values in kept.items() if len(values) > 1}


def _affects(key: str, metric: Metric) -> bool:
    if key == "mesh_renders":
        return base_name(metric.name).startswith(RENDERED)
    if key in ONE_SCORE_ONLY:
        return base_name(metric.name) == ONE_SCORE_ONLY[key]
    if metric.name == "geometry/silhouette_iou":
        return key in ("split", "n_views", "views_of_split") or key not in (*IMAGES_ONLY, *GEOMETRY_ONLY)
    return key not in (GEOMETRY_ONLY if is_image(metric.name) else IMAGES_ONLY)
