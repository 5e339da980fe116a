"""What a word on the command line names: a record's field, a dotted key of the config, or the unique ending of one.

Headings show the ends of long keys (eikonal.weight for loss.terms.eikonal.weight), so these are names as well.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from isosweep.report.collect import Run
from isosweep.report.keys import OTHER_KEYS, RECORD_FIELDS, ReportError, leaf_paths, lookup, suggestion


def full_keys(words: Sequence[str], runs: Sequence[Run], option: str) -> tuple[str, ...]:
    """The whole key that each word names.

    Raises:
        ReportError: no record has such a key, several keys end in the word, or it names a group of settings.
    """
    return tuple(full_key(word, runs, option) for word in words)


def full_conditions(conditions: Sequence[tuple[str, str]], runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The conditions of --where with whole keys; raises as `full_keys`."""
    return [(full_key(key, runs, "--where"), value) for key, value in conditions]


def full_key(word: str, runs: Sequence[Run], option: str) -> str:
    """The whole key that a word names; raises as `full_keys`."""
    if word in RECORD_FIELDS or word in OTHER_KEYS:
        return word
    found = [v for r in runs if (v := lookup(r.record.config, word)) is not None]
    if any(isinstance(v, dict) for v in found):
        inside = next(v for v in found if isinstance(v, dict))
        raise ReportError(
            f"{option} {word} names a group of settings; name one below it: "
            f"{', '.join(f'{word}.{k}' for k in leaf_paths(inside)[:12])}"
        )
    if found or any(has_key(r.record.config, word) for r in runs):
        return word
    known = known_keys(runs)
    if (key := unique_ending(word, known, option)) is not None:
        return key
    raise ReportError(
        f"{option} {word}: no record has this key.{suggestion(word, [*RECORD_FIELDS, *OTHER_KEYS, *known])} Any dotted "
        f"key of the config, the end of one, or {', '.join((*RECORD_FIELDS, *OTHER_KEYS))}"
    )


def unique_ending(word: str, keys: Iterable[str], option: str) -> str | None:
    """The only key that ends in the parts of a word; None if none does.

    Raises:
        ReportError: several keys do.
    """
    found = sorted({k for k in keys if k == word or k.endswith(f".{word}")}, key=lambda k: (k.count("."), k))
    if len(found) > 1 and found[0] != word:
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        raise ReportError(
            f"{option} {word}: {len(found)} keys end in it, write more of the one that is meant: "
            f"{', '.join(found[:8])}{more}"
        )
    return found[0] if found else None


def known_keys(runs: Sequence[Run]) -> set[str]:
    """The dotted keys of all configs. Configs of one composition have the same keys, so one of each is read."""
    seen: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        r = run.record
        shape = (
            r.model,
            r.encoding,
            r.loss,
            r.label,
            r.dataset,
            r.code_hash,
            len(r.config),
            len(r.overrides),
        )
        seen.setdefault(shape, run)
    return {key for run in seen.values() for key in leaf_paths(run.record.config)}


def has_key(config: Any, path: str) -> bool:
    """Whether a config has a dotted path, even if its value is null."""
    for part in path.split("."):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True
