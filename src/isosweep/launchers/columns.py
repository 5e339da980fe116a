"""Tables of runs that fit a terminal: what is varied stands in columns of its own, and no two rows read the same.

A table is laid out here in plain text and numbers; ``tables`` draws it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from isosweep.config.titles import NUMBER, short_keys, short_value, varied_values

GAP = 2
"""Blank columns between two columns."""
KEY_DIGITS = 8
_NOT_SHOWN = ("run", "hydra", "tracker")
MOST = 5
"""Settings that get a column each."""
NARROWEST = 6
"""Of a column that is cut to fit."""
NAMES = ("dataset", "scene", "model", "encoding", "seed")
"""What every run has, in the order of the columns; the seed stands behind the settings."""


@dataclass(frozen=True)
class Run:
    """What tells one run from another: names, the overrides it was started with, and its key."""

    names: Mapping[str, str]
    """Those of NAMES that are known."""
    overrides: Sequence[str] = ()
    key: str | None = None

    @property
    def settings(self) -> dict[str, str]:
        """Everything by full key. A deletion ('~key') has an empty value."""
        return {**{k: v for k, v in self.names.items() if v}, **_given(self.overrides)}


@dataclass(frozen=True)
class Column:
    """One column of a table, before it is fitted.

    Args:
        rank: of the columns that do not fit, those of the highest rank go first. Those of rank 0 stay, and are cut.
        least: width down to which cells may be cut or wrapped; None for a column that is shown whole or not at all.
        right: whether the cells are aligned to the right, as numbers are.
        wrapped: whether a cell may take several lines.
    """

    name: str
    cells: Sequence[str]
    rank: int = 0
    least: int | None = None
    right: bool = False
    wrapped: bool = False

    @property
    def heading(self) -> str:
        """The name, broken at its last dot where it is wider than the cells."""
        front, dot, last = self.name.rpartition(".")
        return (
            f"{front}{dot}\n{last}" if dot and cell_len(self.name) > self._widest(self.cells) else self.name
        )

    @property
    def width(self) -> int:
        """The width at which nothing is cut."""
        return self._widest((*self.heading.split("\n"), *self.cells))

    @staticmethod
    def _widest(texts: Iterable[str]) -> int:
        return max((cell_len(text) for text in texts), default=0)


def identity(runs: Sequence[Run], among: Sequence[Run] | None = None) -> list[Column]:
    """The columns that tell runs apart: what differs among them; scene, model and seed where nothing does.

    Of more than MOST settings, the rarest share one column.

    Args:
        among: all runs of the table, if only some of them are shown.
    """
    settings = [run.settings for run in runs]
    every = settings if among is None else [run.settings for run in among]
    counts = Counter(key for one in every for key in one)
    differing = [key for key in counts if len(_values(key, every)) > 1]
    if not differing:
        differing = [key for key in ("scene", "model", "seed") if key in counts]
    short = short_keys(differing)
    own = sorted((key for key in differing if key not in NAMES), key=lambda key: -counts[key])
    single = [key for key in differing if key in own[:MOST]]

    def column(key: str) -> Column:
        values = [one.get(key, "") for one in settings]
        return Column(short[key], _told_apart(values), least=NARROWEST, right=_numbers(values))

    columns = [column(key) for key in (*NAMES[:-1], *single) if key in differing]
    if rest := own[MOST:]:
        texts = [
            " ".join(f"{short[key]}={short_value(one[key])}" for key in rest if key in one)
            for one in settings
        ]
        columns.append(Column("settings", texts, least=NARROWEST))
    return columns + [column(key) for key in NAMES[-1:] if key in differing]


def titles(runs: Sequence[Run], among: Sequence[Run] | None = None) -> list[str]:
    """Each run in one line, by what tells it from the others: 'rings  eikonal.weight=0.2  seed=1'."""
    columns = identity(runs, among)
    bare = NAMES[:-1]
    lines = [
        "  ".join(
            column.cells[row] if column.name in bare else f"{column.name}={column.cells[row]}"
            for column in columns
            if column.cells[row]
        )
        for row in range(len(runs))
    ]
    doubled = {line for line, count in Counter(lines).items() if count > 1}
    return [
        f"{line}  {run.key[:KEY_DIGITS]}".strip() if line in doubled and run.key else line or "the defaults"
        for line, run in zip(lines, runs, strict=True)
    ]


def common(runs: Sequence[Run]) -> str:
    """What all runs share, for the line above a table: 'demo/mug, neus, hashgrid'."""
    names = [run.names for run in runs]
    same = {key: value for key in NAMES if len(found := _values(key, names)) == 1 and (value := min(found))}
    place = "/".join(same[key] for key in ("dataset", "scene") if key in same)
    rest = [same[key] for key in ("model", "encoding") if key in same]
    seed = [f"seed {same['seed']}"] if "seed" in same else []
    return ", ".join(part for part in (place, *rest, *seed) if part)


def _values(key: str, settings: Sequence[Mapping[str, str]]) -> set[str]:
    """The values of a key. A run without an override has the default; of a name that is not known, nothing is said."""
    found = {one.get(key, "") for one in settings}
    return found - {""} if key in NAMES else found


def fitted(columns: Sequence[Column], runs: Sequence[Run], width: int) -> list[tuple[Column, int]]:
    """The columns that a terminal of ``width`` has room for, each with its width, in their order.

    Empty columns go. If two rows would look alike, the key stands in front.
    """
    kept = [column for column in columns if any(column.cells)]
    found = _within(kept, width)
    if _alike(found):
        key = Column("key", [(run.key or "")[:KEY_DIGITS] for run in runs])
        if any(key.cells):
            found = _within([key, *(c for c in kept if c.name != "key")], width)
    return found


def _within(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    kept = list(columns)
    while _total(c.width if c.rank == 0 else c.least or c.width for c in kept) > width:
        spare = max(kept, key=lambda c: c.rank)
        if spare.rank == 0:
            break
        kept.remove(spare)
    widths = [c.width for c in kept]
    while _total(widths) > width:
        loose = [i for i, c in enumerate(kept) if c.least is not None and widths[i] > c.least]
        if not loose:
            break  # narrower than any table
        widest = max(loose, key=lambda i: (kept[i].rank > 0, widths[i]))
        widths[widest] -= 1
    return list(zip(kept, widths, strict=True))


def _total(widths: Iterable[int]) -> int:
    every = list(widths)
    return sum(every) + GAP * (len(every) - 1)


def _alike(found: Sequence[tuple[Column, int]]) -> bool:
    """Whether two rows show the same in the columns that stay."""
    shown = [[cell[:width] for cell in column.cells] for column, width in found if column.rank == 0]
    rows = list(zip(*shown, strict=True))
    return len(set(rows)) < len(rows)


def names_given(overrides: Iterable[str]) -> dict[str, str]:
    """The names of a run that was never composed, as far as its overrides give them."""
    pairs = (text.lstrip("+").partition("=") for text in overrides)
    return {key: value.strip("'\"") for key, _, value in pairs if key in NAMES}


def _told_apart(values: Sequence[str]) -> list[str]:
    """Shortened values; whole ones where different values would look alike."""
    short = [short_value(value) for value in values]
    return short if len(set(short)) == len(set(values)) else list(values)


def _numbers(values: Iterable[str]) -> bool:
    return all(NUMBER.fullmatch(value) for value in values if value)


def _given(overrides: Iterable[str]) -> dict[str, str]:
    return {key: value or "" for key, value in varied_values(overrides, _NOT_SHOWN).items()}
