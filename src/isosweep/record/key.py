"""The run key: one name for one trained result.

Two starts with the same key would train the same weights, so they share one folder; whatever
cannot change the weights (where files lie, how often something is logged, how the result is
scored) must therefore stay out of it. So must everything that only says where code lies: a key is made of
names and values that a user sees, so that a finished run stays finished when a module moves.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import PurePath
from typing import Any

from isosweep.errors import InputError
from isosweep.record.kinds import kind_of

EXCLUDED: tuple[str, ...] = (
    "eval",  # scoring a checkpoint does not change it
    "export",
    "tracker",
    "run",  # where and how the run is kept
    "view",  # who looks at it
    "mode",
    "debug",  # its parts only inspect; the small sizes that a debug config sets are keys of other groups
    "hydra",
    "name",
    "dataset.root",  # where the same data lies on this machine
    "dataset.path",
    "dataset.truth",  # what the scores are taken against: part of the score key
    "dataset.official",  # likewise
    "dataset.cache",
    "dataset.cache_dir",
    "dataset.workers",
    "train.log_every",
    "train.pictures_every",  # looking changes nothing
    "train.val_mesh",
    "train.val_samples",
    "train.watch_share",
    "train.checkpoint_every",
    "train.checkpoint_minutes",
    "train.keep_every",
    "train.threads",  # changes the order of sums, not the method; the count is in the record
    "train.micro_batches",  # likewise
    # of a method that is not ours: where its code lies (its version counts), how it is watched, and what is read of it
    "method.about",
    "method.source",
    "method.tried",
    "method.folder",
    "method.needs",
    "method.environment",
    "method.limit_minutes",
    "method.watch",
    "method.collect",  # part of the score key
    "method.resume",
)
"""Dotted paths that are no part of the key; a path takes everything below it.

``train.val_every`` and ``train.val_views`` stay in: validation decides which checkpoint is `best`,
and `best` is one of the run's trained results. ``train.init_from`` counts by the content of its file,
``train.init_hash``; in runs of earlier versions, which have none, by the path as written.
"""

RESOLVED: tuple[str, ...] = ("backend", "device")
"""Top-level entries that must hold what was chosen, not 'auto'. A device counts by its kind:
'cuda:1' and 'cuda' are one result."""

OF_A_METHOD: tuple[str, ...] = ("method", "dataset", "scene", "seed")
"""Top-level entries that decide what a method that is not ours makes (``model=external``)."""

SCORE_FREE: tuple[str, ...] = ("eval.chunk", "export.chunk")
"""Entries of eval and export that bound memory and leave the scores as they are."""


AS_BEFORE: tuple[tuple[str, Any], ...] = (
    ("method", None),
    ("optim.weight_decay_tables", 0.0),
    ("optim.rates", None),
    ("optim.rates", {}),  # what the option's first version wrote
    ("optim.warmup_shape", "linear"),
    ("model.*.density_activation", "relu"),
    ("model.*.density_bias", 0.0),
    ("model.*.color_padding", 0.0),
    ("model.render_finer", 1),
    ("model.background", None),
    ("model.background.opaque", False),
    ("model.background.cells", None),
    ("model.background.space", None),
    ("model.background.spacing", "geometric"),
    ("model.background.sampler", None),
    ("*sampler.spacing", "linear"),  # the sampler stands in the config twice: the model reads it as its own
    ("*sampler.jitter", True),
    ("*sampler.perturb", "edges"),
    ("*sampler.cone", 0.0),
    ("*sampler.early_stop", 0.0),
    ("*sampler.samples_per_probe", 2.0),
    ("model.*color.activation", "sigmoid"),
    ("*.network", "layers"),
    ("model.*.color_activation", "sigmoid"),
    ("*encoding.include_xyz", True),
    ("*direction.include_xyz", True),
    ("optim.args", None),
    ("optim.average", 0.0),
    ("train.min_rays", 16),
    ("train.batch_from", "all"),
    ("train.replacement", True),
    ("train.cuda_graphs", False),
    ("train.init_hash", None),
    ("dataset.mask_meaning", "auto"),
    ("dataset.mask_folder", None),
    ("dataset.axes", "auto"),
    ("dataset.val_every", None),  # which recipes set also for data that has no such option
    ("*encoding.grow_after", 0.0),
    ("*encoding.count_from", None),
    ("*color.weight_norm", False),
    ("*color.appearance_dim", 0),
    ("*color.appearance_views", 512),
    ("*color.appearance_unseen", "mean"),
    ("model.field.distance_feature", True),
    ("model.field.narrow", False),
    ("model.fd_scale", 1.0),
    ("model.taps", 6),
    ("model.shading_normal", "unit"),
    ("model.interval", "box"),
    ("export.clean", []),
    ("export.method", "field"),
    ("export.marching_cubes", "skimage"),
    ("export.clusters", 50),
    ("export.fill_holes", 0.0),
    ("export.faces", None),
    ("export.video_formats", ["mp4"]),
    ("export.render_factor", None),
    ("export.texture", None),
    ("export.texture_from", "photos"),
    ("export.texture_views", 3),
    ("export.depth_colors", "viridis"),
    ("export.crop", None),
    ("eval.mesh_renders", 0),
)
"""(dotted path of an option added later, a value with which a run is what it was before the option).

With that value the option is no part of a key, so a run that was finished before it existed is
found by the same command. ``*`` in a path stands for anything. Paths below ``eval`` and ``export`` serve the
score key. An entry stays for ever, also when the option's default changes.
"""

SAME_AS: tuple[tuple[str, Any, Any], ...] = (
    ("dataset.masks", "auto", False),  # masks that serve scores alone
    ("dataset.world_unit", "auto", "mm"),  # of dataset=dtu: a name in records
)
"""(dotted path, a value, the value that stands for it in a key): two names of one result, the second the older one."""

MECHANICS = ("_partial_", "_convert_", "_recursive_")
"""How Hydra calls a target; no part of what it is."""


def run_key(config: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of what decides the trained weights.

    Of the resolved config without ``EXCLUDED``: each ``_target_`` as its kind (kinds.py), no option that has
    its value of ``AS_BEFORE``, and no loss term that is null or has weight 0. The order of keys, 1 or
    1.0, tuples or lists make no difference; the order within a list does.

    Raises ValueError where backend or device is still 'auto' and TypeError for a value that a
    yaml file cannot hold.
    """
    kept = essential(config)
    for name in RESOLVED:
        if kept.get(name) == "auto":
            raise InputError(
                f"the run key needs the {name} that was chosen, but the config says {name}=auto: "
                f"resolve it first, so that two machines do not share a key for different results"
            )
    return _digest(kept)


def essential(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config decides the trained weights, in the form in which two configs can be compared."""
    if config.get("method") is not None:
        config = {name: config[name] for name in OF_A_METHOD if name in config}
    by_content = _group(config, "train").get("init_hash") is not None
    left_out = (*EXCLUDED, "train.init_from") if by_content else EXCLUDED
    kept = _visible(_without(_active_terms(config), left_out))
    if isinstance(kept.get("device"), str):
        kept["device"] = kept["device"].split(":")[0]
    return kept


ABSENT = "(absent)"


def matters(path: str, one: Any, other: Any) -> bool:
    """Whether two values at one dotted path make two trained results; ``ABSENT`` stands for no value.

    The key's rules, for a single difference. Two names of one device are one result, and so are two import
    paths of one kind. An option that is absent has its value of ``AS_BEFORE``.
    """
    last = path.rpartition(".")[2]
    if any(path == p or path.startswith(f"{p}.") for p in EXCLUDED) or last in MECHANICS:
        return False
    if path == "device" and isinstance(one, str) and isinstance(other, str):
        return one.split(":")[0] != other.split(":")[0]
    if last == "_target_" and ABSENT not in (one, other):
        return kind_of(str(one)) != kind_of(str(other))
    if any(path == where and (one, other) in ((new, old), (old, new)) for where, new, old in SAME_AS):
        return False
    return not all(value == ABSENT or _as_before(path, value) for value in (one, other))


def _group(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A group of a config; nothing where a record that was written by hand has something else there."""
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def term_is_off(config: Mapping[str, Any], name: str) -> bool:
    """Whether a loss term is absent, null, or of weight 0: then nothing of it matters."""
    terms = _group(_group(config, "loss"), "terms")
    return name not in terms or not _is_active(terms[name])


def score_key(config: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of what decides a finished run's scores and exports, given its weights."""
    parts = {name: config[name] for name in ("eval", "export") if config.get(name) is not None}
    for name in ("truth", "official"):
        against = _group(config, "dataset").get(name)
        if against is not None:
            parts[name] = against
    collected = _group(config, "method").get("collect")
    if collected is not None:
        parts["collect"] = collected
    return _digest(_visible(_without(parts, SCORE_FREE)))


def plain(value: Any, where: str = "config") -> Any:
    """``value`` as JSON types, paths as text, tuples as lists; TypeError names what does not fit."""
    if isinstance(value, Mapping):
        return {str(k): plain(v, f"{where}.{k}") for k, v in value.items()}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    raise TypeError(
        f"{where} holds a {type(value).__name__}, which a record cannot keep: pass numbers, text, "
        "lists and mappings (a config through OmegaConf.to_container(resolve=True))"
    )


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(value).encode()).hexdigest()[:16]


def _text(value: Any) -> str:
    return json.dumps(_canonical(plain(value)), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _canonical(value: Any) -> Any:
    """Equal numbers as equal text: whole floats as integers, non-finite ones as words."""
    if isinstance(value, dict):
        return {k: _canonical(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_canonical(v) for v in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return {"non-finite": str(value)}
        return int(value) if value.is_integer() else value
    return value


def _active_terms(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without loss terms that are switched off: they are not evaluated (losses/total.py)."""
    loss = config.get("loss")
    if not isinstance(loss, Mapping) or not isinstance(loss.get("terms"), Mapping):
        return dict(config)
    terms = {name: term for name, term in loss["terms"].items() if _is_active(term)}
    return {**config, "loss": {**loss, "terms": terms}}


def _is_active(term: Any) -> bool:
    return term is not None and not (isinstance(term, Mapping) and term.get("weight") == 0)


def _visible(value: Any, path: str = "") -> Any:
    """``value`` with kinds in place of targets, without Hydra's mechanics and options that are as before."""
    if value is None or isinstance(value, str | bool | int | float):
        return _older_name(path, value)
    if isinstance(value, Mapping):
        kept: dict[str, Any] = {}
        for key, item in value.items():
            here = f"{path}.{key}" if path else str(key)
            if key in MECHANICS or _as_before(here, item):
                continue
            if key == "_target_":
                kept["_kind_"] = kind_of(str(item))
            else:
                kept[str(key)] = _visible(item, here)
        return kept
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_visible(item, f"{path}.{i}") for i, item in enumerate(value)]
    return _older_name(path, value)


def _older_name(path: str, value: Any) -> Any:
    return next((old for where, new, old in SAME_AS if path == where and value == new), value)


def _as_before(path: str, value: Any) -> bool:
    before = _texts_before(path)
    return bool(before) and _text(value) in before


@cache
def _texts_before(path: str) -> tuple[str, ...]:
    """The values of ``AS_BEFORE`` for a path; configs have the same few hundred paths, a table reads thousands."""
    return tuple(_text(before) for pattern, before in AS_BEFORE if fnmatchcase(path, pattern))


def _without(config: Mapping[str, Any], paths: tuple[str, ...], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if path in paths:
            continue
        kept[str(key)] = _without(value, paths, f"{path}.") if isinstance(value, Mapping) else value
    return kept
