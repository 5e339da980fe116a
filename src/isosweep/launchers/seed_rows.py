"""The rows that "seeds until decided" compares, found in the jobs of a sweep, and the pairs of them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isosweep.config.check import ConfigError
from isosweep.config.titles import short_keys
from isosweep.report.keys import names_value, suggestion

PLACES = ("scene", "dataset")
"""Keys that say where a row is tried. The others say what is tried."""
UNSET = "default"
"""Shown for a varied key that a row leaves as composed."""


@dataclass(frozen=True)
class Row:
    """One setting that is tried on every scene with the same seeds."""

    text: str
    """What distinguishes it: 'eikonal.weight=0.1'."""
    values: Mapping[str, str]
    """Varied key -> value as text; '' where the row does not set it, shown as UNSET."""
    jobs: Mapping[tuple[str, ...], list[str]]
    """Place -> the overrides of its job, without the seed."""


def rows_of(jobs: Sequence[Sequence[str]]) -> list[Row]:
    """The rows of a sweep's jobs.

    A varied key that has one value for each scene (dataset.downscale in rows of scenes) belongs to the scene.

    Raises:
        ConfigError: a seed is set, or there are fewer than two rows.
    """
    sets = [{_key(text): text for text in job} for job in jobs]
    if any("seed" in one for one in sets):
        raise ConfigError(
            "hydra/sweeper=until chooses the seeds itself, 0, 1, 2, ...: leave seed= out, and set "
            "hydra.sweeper.max_seeds= (default 10)"
        )
    varied = [
        key
        for key in dict.fromkeys(key for one in sets for key in one)
        if len({one.get(key) for one in sets}) > 1
    ]
    places = [key for key in varied if key in PLACES]
    if len({_values(one, places) for one in sets}) > 1:
        places += [key for key in varied if key not in PLACES and _follows(sets, key, places)]
    own = [key for key in varied if key not in places]
    found: dict[tuple[str, ...], dict[tuple[str, ...], list[str]]] = {}
    for one, job in zip(sets, jobs, strict=True):
        found.setdefault(_values(one, own), {})[_values(one, places)] = list(job)
    if len(found) < 2:
        seen = f"{len(jobs)} jobs that differ in {', '.join(places)}" if places else "one job"
        raise ConfigError(
            f"hydra/sweeper=until compares two or more rows, found {seen}: vary something else than scene and seed, "
            "for example model=nerf,neus; or take hydra/sweeper=grid"
        )
    return [Row(_text(own, values), dict(zip(own, values, strict=True)), at) for values, at in found.items()]


def pairs_of(rows: Sequence[Row], against: Mapping[str, str]) -> list[tuple[Row, Row]]:
    """(row, baseline) of every comparison: all pairs, or with ``against`` each row with its baseline.

    If one row meets the conditions, all others are compared with it. If several do, each other row is compared with
    the one that equals it in every other key, as scripts/report.py --against does.

    Raises:
        ConfigError: no row meets the conditions, a key is not varied, or two rows have no scene in common.
    """
    if not against:
        pairs = [(b, a) for a, b in itertools.combinations(rows, 2)]
    else:
        keys = list(rows[0].values)
        named = {_named(key, keys): value for key, value in against.items()}
        base = [row for row in rows if all(_same(row.values[k], v) for k, v in named.items())]
        if not base:
            wanted = ", ".join(f"{k}={v}" for k, v in against.items())
            raise ConfigError(
                f"hydra.sweeper.against: no row has {wanted}; the rows are {'; '.join(r.text for r in rows)}"
            )
        pairs = []
        for row in (row for row in rows if row not in base):
            others = [k for k in keys if k not in named]
            equal = [b for b in base if len(base) == 1 or all(b.values[k] == row.values[k] for k in others)]
            if len(equal) != 1:
                raise ConfigError(
                    f"hydra.sweeper.against: {row.text} has no baseline that equals it in every other key"
                )
            pairs.append((row, equal[0]))
        if not pairs:
            raise ConfigError("hydra.sweeper.against: every row is a baseline, so that none is compared")
    for row, other in pairs:
        if not row.jobs.keys() & other.jobs.keys():
            raise ConfigError(
                f"{row.text} and {other.text} have no scene in common, so nothing compares them"
            )
    return pairs


def conditions(against: object) -> dict[str, str]:
    """``hydra.sweeper.against`` as key -> value: a mapping, or text such as 'model=nerf,encoding=freq'."""
    if against is None:
        return {}
    if isinstance(against, Mapping):
        return {str(key): str(value) for key, value in against.items()}
    found = {}
    for part in str(against).split(","):
        key, equals, value = part.strip().partition("=")
        if not equals:
            raise ConfigError(
                f"hydra.sweeper.against={against}: name the baseline row by a varied key and its value, "
                "for example 'hydra.sweeper.against=\"model=nerf\"'"
            )
        found[key] = value
    return found


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _values(one: Mapping[str, str], keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(_value(one.get(key, "")) for key in keys)


def _value(override: str) -> str:
    """The value of an override as it is typed, without quotes; a deletion as 'deleted'."""
    if override.startswith("~"):
        return "deleted"
    value = override.partition("=")[2]
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _follows(sets: Sequence[Mapping[str, str]], key: str, places: Sequence[str]) -> bool:
    """Whether a key has one value for each place."""
    seen: dict[tuple[str, ...], set[str | None]] = {}
    for one in sets:
        seen.setdefault(_values(one, places), set()).add(one.get(key))
    return all(len(values) == 1 for values in seen.values())


def _text(keys: Sequence[str], values: Sequence[str]) -> str:
    short = short_keys(keys)
    return ", ".join(f"{short[k]}={v or UNSET}" for k, v in zip(keys, values, strict=True))


def _named(key: str, keys: Sequence[str]) -> str:
    found = [k for k in keys if k == key or k.endswith(f".{key}")]
    if len(found) != 1:
        raise ConfigError(
            f"hydra.sweeper.against: {key} is no key that this sweep varies.{suggestion(key, keys)} It varies "
            f"{', '.join(keys)}"
        )
    return found[0]


def _same(value: str, word: str) -> bool:
    """Whether two texts mean the same value: 0.1 and 1e-1, '' and UNSET."""
    value = value or UNSET
    try:
        return names_value(float(value), word) or value == word
    except ValueError:
        return value == word
