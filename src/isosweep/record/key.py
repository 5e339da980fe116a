"""The run key: one name for one trained result.

Two starts with the same key would train the same weights, so they share one folder; whatever
cannot change the weights (where files lie, how often something is logged, how the result is
scored) must therefore stay out of it.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

EXCLUDED: tuple[str, ...] = (
    "eval",  # scoring a checkpoint does not change it
    "export",
    "tracker",
    "run",  # where and how the run is kept
    "mode",
    "debug",  # its parts look; the small sizes a debug config sets are keys of other groups
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
    "train.checkpoint_every",
    "train.checkpoint_minutes",
    "train.threads",  # changes the order of sums, not the method; the count is in the record
)
"""Dotted paths that are no part of the key; a path takes everything below it.

``train.val_every`` and ``train.val_views`` stay in: validation decides which checkpoint is `best`,
and `best` is one of the run's trained results. ``train.init_from`` stays in as written.
"""

RESOLVED: tuple[str, ...] = ("backend", "device")
"""Top-level entries that must hold what was chosen, not 'auto'. A device counts by its kind:
'cuda:1' and 'cuda' are one result."""

SCORE_FREE: tuple[str, ...] = ("eval.chunk", "export.chunk")
"""Entries of eval and export that bound memory and leave the scores as they are."""


def run_key(config: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of the resolved config without ``EXCLUDED``.

    The order of keys, 1 or 1.0, tuples or lists make no difference; the order within a list does.
    Raises ValueError where backend or device is still 'auto' and TypeError for a value that a
    yaml file cannot hold.
    """
    kept = _without(config, EXCLUDED)
    for name in RESOLVED:
        if kept.get(name) == "auto":
            raise ValueError(
                f"the run key needs the {name} that was chosen, but the config says {name}=auto: "
                f"resolve it first, so that two machines do not share a key for different results"
            )
    if isinstance(kept.get("device"), str):
        kept["device"] = kept["device"].split(":")[0]
    return _digest(kept)


def score_key(config: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of what decides a finished run's scores and exports, given its weights."""
    parts = {name: config[name] for name in ("eval", "export") if config.get(name) is not None}
    for name in ("truth", "official"):
        against = (config.get("dataset") or {}).get(name)
        if against is not None:
            parts[name] = against
    return _digest(_without(parts, SCORE_FREE))


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
    text = json.dumps(_canonical(plain(value)), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def _without(config: Mapping[str, Any], paths: tuple[str, ...], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if path in paths:
            continue
        kept[str(key)] = _without(value, paths, f"{path}.") if isinstance(value, Mapping) else value
    return kept
