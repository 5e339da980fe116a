"""Chooses the views of a run and splits them into training, validation and test, the same way for every data set."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isosweep.data.loading import AUTO, Ids, ViewOptions
from isosweep.errors import InputError
from isosweep.runtime.text import name_as_text
from isosweep.runtime.text_file import read_text

FEWEST = 20
"""Training views from which on ``dataset.val_every=auto`` takes some for validation."""
EVERY = 10
MOST = 8
"""Of them it takes every tenth, and at most so many."""


@dataclass(frozen=True)
class Splits:
    """Indices into the list of all views. ``test`` is empty where nothing is held out."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]
    chosen: tuple[int, ...]
    """The views of all splits before ``n_images`` and ``n_test``. The normalised frame is found from all of these, so
    that it does not change with the number of views."""

    @property
    def kept(self) -> tuple[int, ...]:
        """The views of all splits, sorted."""
        return tuple(sorted({*self.train, *self.val, *self.test}))

    def renumbered(self) -> tuple[dict[str, tuple[int, ...]], bool]:
        """The splits as indices into ``kept``, as a `Scene` has them, and whether any view is held out.

        Where none is held out, the training views are the test split, too.
        """
        place = {view: i for i, view in enumerate(self.kept)}
        named = {"train": self.train, "val": self.val, "test": self.test or self.train}
        return {name: tuple(place[v] for v in views) for name, views in named.items()}, bool(self.test)

    def compact(self) -> "Splits":
        """The same splits of a list that has the views of ``kept`` only."""
        place = {view: i for i, view in enumerate(self.kept)}
        train, val, test = (tuple(place[v] for v in views) for views in (self.train, self.val, self.test))
        return Splits(train, val, test, tuple(range(len(place))))


def choose(names: Sequence[str], ids: Ids, source: Path) -> list[int]:
    """The indices of the views that ``image_ids`` takes, sorted.

    Args:
        names: the names of all views, in the order of the data set.
        ids: None for all; a list of indices or names (with or without ending); a slice such as '0:40:2'; or the
            path of a text file with a name a line.
        source: the file or folder that lists the views, for errors.

    Raises:
        ValueError: there is no such view (the message has the nearest name), or no view is chosen.
    """
    if ids is None:
        return list(range(len(names)))
    if isinstance(ids, str):
        ids = _listed(ids, names)
    by_name = _by_name(names)
    chosen = set()
    for one in ids:
        if isinstance(one, int):
            if not -len(names) <= one < len(names):
                raise InputError(f"dataset.image_ids: view {one} of {len(names)} in {source}; count from 0")
            chosen.add(one % len(names))
            continue
        found = by_name.get(str(one), [])
        if len(found) > 1:
            raise InputError(
                f"dataset.image_ids: '{one}' may be {' or '.join(names[i] for i in found[:3])} in {source}: give the "
                "whole name"
            )
        if not found:
            near = difflib.get_close_matches(str(one), by_name, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(names[:5])} ..."
            raise InputError(f"dataset.image_ids: no view '{one}' in {source}{hint}")
        chosen.add(found[0])
    if not chosen:
        raise InputError("dataset.image_ids takes no view: give places or names, or null for all")
    return sorted(chosen)


def _by_name(names: Sequence[str]) -> dict[str, list[int]]:
    """Name -> indices of views. Names without ending and without folders count too, unless they are another's name.

    A name that is not UTF-8 counts as records write it, too.
    """
    found: dict[str, list[int]] = {}
    for shorter in (
        lambda p: str(p),
        lambda p: name_as_text(str(p)),
        lambda p: str(p.with_suffix("")),
        lambda p: p.name,
        lambda p: p.stem,
    ):
        keys = [shorter(Path(name)) for name in names]
        taken = set(found)
        for i, key in enumerate(keys):
            if key not in taken:
                found.setdefault(key, []).append(i)
    return found


def _listed(ids: str, names: Sequence[str]) -> Sequence[int | str]:
    parts = ids.split(":")
    if 2 <= len(parts) <= 3 and all(p.strip().lstrip("-").isdecimal() or not p.strip() for p in parts):
        step = [int(p) if p.strip() else None for p in parts]
        if len(step) == 3 and step[2] == 0:
            raise InputError(f"dataset.image_ids={ids}: a slice of step 0 takes nothing")
        return range(len(names))[slice(*step)]
    given = [part.strip() for part in ids.split(",")]
    if len(given) == 1 and Path(ids).is_file():
        lines = (line.strip() for line in read_text(Path(ids), "names of views").splitlines())
        return [line for line in lines if line and not line.startswith("#")]
    named = _by_name(names)
    return [int(part) if part.isdecimal() and part not in named else part for part in given]


def hold_out(indices: Sequence[int], views: ViewOptions, source: Path) -> Splits:
    """Every ``test_every``-th index, from the first, is test; `validating` are those of the rest that validate.

    ``n_images`` and ``n_test`` are applied after that, so the test views are the same for every number of
    training views.

    Args:
        source: the file or folder that lists the views, for errors.

    Raises:
        ValueError: nothing is left to train on.
    """
    test_every, val_every = views.test_every, views.val_every
    test = [v for i, v in enumerate(indices) if test_every and i % test_every == 0]
    held = set(test)
    rest = [v for v in indices if v not in held]
    val = validating(rest, val_every)
    validates = set(val)
    train = [v for v in rest if v not in validates]
    why = f"test_every={test_every}" + (f" with val_every={val_every}" if val else "")
    return thinned(train, val, test, views, source, why)


def validating(train: Sequence[int], val_every: int | str | None) -> list[int]:
    """The training views that validate: every ``val_every``-th, from the first; None takes none.

    'auto' takes every tenth, evenly thinned to eight, and none of fewer than twenty: there, each view counts.
    """
    if val_every is None:
        return []
    if val_every != AUTO:
        return list(train[:: int(val_every)])
    tenths = train[::EVERY] if len(train) >= FEWEST else ()
    return [tenths[i] for i in spread(len(tenths), MOST)]


def thinned(
    train: Sequence[int],
    val: Sequence[int],
    test: Sequence[int],
    views: ViewOptions,
    source: Path,
    option: str,
) -> Splits:
    """The splits after ``n_images`` took some of the training views and ``n_test`` some of the test views.

    Args:
        source: the file or folder that lists the views, for errors.
        option: the setting that made the splits ('test_every=8'), for errors.

    Raises:
        ValueError: there are no training views.
    """
    if not train:
        raise InputError(
            f"dataset.{option} holds out all {len(val) + len(test)} views of {source} and leaves none to train on: "
            "use 2 or more (8 is usual), or null"
        )
    kept = tuple(train[i] for i in spread(len(train), views.n_images))
    chosen = tuple(sorted({*train, *val, *test}))
    return Splits(kept, tuple(val), tuple(test[i] for i in spread(len(test), views.n_test)), chosen)


def spread(n: int, wanted: int | None) -> list[int]:
    """``wanted`` indices evenly spaced over range(n); all of them where ``wanted`` is None or larger.

    Raises:
        ValueError: ``wanted`` is below 1.
    """
    if wanted is None or wanted >= n:
        return list(range(n))
    if wanted < 1:
        raise InputError(f"dataset.n_images and dataset.n_test are at least 1, found {wanted}")
    return sorted({round(i * (n - 1) / max(wanted - 1, 1)) for i in range(wanted)})
