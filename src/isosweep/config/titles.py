"""The title of a run: its scene, its model, what it sets, and its seed, in one short line.

Trackers show it as the run's name, and tables as columns. It is made of the overrides as they stand on a command line.
A title may change with them; keys and folders (config/names.py) do not depend on it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from isosweep.record.key import EXCLUDED

LONGEST = 100
"""Characters of a title; W&B cuts longer names in its lists."""
LONGEST_VALUE = 24
LONGEST_SCENE = 40
SEPARATOR = " · "

AMBIGUOUS = frozenset({
    "activation", "anneal_until", "appearance_dim", "appearance_unseen", "appearance_views", "at",
    "background", "base_resolution", "begin", "bias", "chunk", "decay", "degree", "encoding", "end",
    "factor", "far", "feature_dim", "fn", "grow_until", "hidden_dim", "kind", "level", "log2_size", "masks",
    "mode", "network", "n_features", "n_frequencies", "n_hidden", "n_levels", "n_samples", "name", "near", "opaque",
    "per_level_scale", "radius", "resolution", "samples_per_probe", "scale", "schedule", "share", "skips",
    "space", "spacing", "start", "threshold", "until", "update_every", "val_every", "value", "warmup",
    "weight", "weight_norm",
})  # fmt: skip
"""Last parts of keys that say nothing alone, or that several groups have."""

_TOLD_ELSEWHERE = ("scene", "seed", "model", "method", "dataset", "sweep")
"""Overrides of exactly these keys stand in the title already, in the tags, or in the group."""
_OVERRIDE = re.compile(r"(\+{0,2}|~)([^=]+)(?:=(.*))?", re.DOTALL)
NUMBER = re.compile(r"[+-]?\d*\.?\d+(e[+-]?\d+)?", re.IGNORECASE)


def run_title(names: Mapping[str, str], scene: str, seed: int | str, overrides: Iterable[str]) -> str:
    """A run in one line of at most LONGEST characters, e.g. 'rings · neus · eikonal.weight=0.2 · s0'.

    Args:
        names: group -> name of the chosen option; the model's is shown.
        overrides: of this run, as on a command line. Those that cannot change what is trained are left out.
    """
    varied = varied_values(overrides)
    short = short_keys(varied)
    parts = [
        short[key] if value is None else f"{short[key]}={short_value(value)}" for key, value in varied.items()
    ]
    return _fitted([_cut(scene, LONGEST_SCENE), names["model"]], parts, f"s{seed}")


def varied_values(overrides: Iterable[str], without: Sequence[str] = EXCLUDED) -> dict[str, str | None]:
    """Key -> value of what a run sets; the last of repeated keys. A deletion keeps its '~' and has the value None.

    Scene, seed, model and data set are left out.

    Args:
        without: dotted paths that are left out with all below them; by default what is no part of a run key: how a
            run is scored, logged and kept.
    """
    found: dict[str, str | None] = {}
    for text in overrides:
        match = _OVERRIDE.fullmatch(text.strip())
        if match is None:
            continue  # no override; Hydra would not have composed it
        sign, key, value = match.groups()
        if sign == "~":
            key, value = f"~{key}", None
        path = ".".join(_parts(key))
        if path in _TOLD_ELSEWHERE or any(path == p or path.startswith(f"{p}.") for p in without):
            continue
        found.pop(key, None)  # so that it stands where it was set last
        found[key] = value
    return found


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Key -> its shortest ending that no other of ``keys`` has: 'loss.terms.eikonal.weight' -> 'eikonal.weight'.

    A last part that says nothing alone (AMBIGUOUS) has the part before it. An option that is placed into another group
    (``encoding@model.background.encoding``) has the key of its place. A '~' in front stays there.
    """
    all_parts = {key: _parts(key) for key in dict.fromkeys(keys)}
    endings = Counter(parts[-n:] for parts in all_parts.values() for n in range(1, len(parts) + 1))
    short: dict[str, str] = {}
    for key, parts in all_parts.items():
        sign = "~" if key.startswith("~") else ""
        first = 2 if parts[-1] in AMBIGUOUS else 1
        counts = range(min(first, len(parts)), len(parts) + 1)
        unique = [n for n in counts if endings[parts[-n:]] == 1]
        # a key that is the end of another one ('weight' beside 'loss.weight') has no ending of its own
        short[key] = sign + ".".join(parts[-unique[0] :] if unique else parts)
    return short


def short_value(value: str) -> str:
    """A value without its quotes; numbers with four digits after rounding, long texts cut."""
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    text = "".join(c if c.isprintable() else "?" for c in text)
    if NUMBER.fullmatch(text) and ("." in text or "e" in text.lower()):
        rounded = f"{float(text):.4g}"
        return rounded if len(rounded) < len(text) else text
    if len(text) > LONGEST_VALUE and "/" in text:  # of a path, the end tells most
        return f"…{text[1 - LONGEST_VALUE :]}"
    return _cut(text, LONGEST_VALUE)


def _parts(key: str) -> tuple[str, ...]:
    """The parts of a key without its sign; of an option placed elsewhere, those of its place."""
    group, _, place = key.lstrip("+~").partition("@")
    path = place if place and not place.startswith("_") else group
    return tuple(part for part in re.split(r"[./]", path) if part) or (key,)


def _fitted(head: list[str], parts: list[str], tail: str) -> str:
    """All parts in one line; where it is too long, the last ones are counted instead: '… +3'."""
    for kept in range(len(parts), -1, -1):
        left = [f"… +{len(parts) - kept}"] if kept < len(parts) else []
        line = SEPARATOR.join([*head, *parts[:kept], *left, tail])
        if len(line) <= LONGEST:
            return line
    return SEPARATOR.join([*(_cut(part, 20) for part in head), tail])


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
