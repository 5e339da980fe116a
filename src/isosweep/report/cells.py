"""Groups runs into the cells of a table, and computes each cell's mean and standard deviation.

An atom is all runs of one row, one column and one scene; its runs may differ in the ``over`` keys only. A cell
is one atom, or the mean of a row's atoms over the scenes of a data set.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from isosweep.report.collect import MISSING_STATES, Run, reader_of
from isosweep.report.keys import sort_key, value_text
from isosweep.report.metrics import Metric, has_reason, metric_value

Key = tuple[Any, ...]
"""Values of the row keys, of the column keys, or of the ``over`` keys, in the order of those keys."""


@dataclass(frozen=True)
class TableSpec:
    """Names of the keys that make rows and columns, and of those that means are taken over."""

    rows: tuple[str, ...]
    cols: tuple[str, ...]
    over: tuple[str, ...] = ("seed",)

    @property
    def keys(self) -> tuple[str, ...]:
        """Row and column keys together."""
        return (*self.rows, *self.cols)


@dataclass(frozen=True)
class Place:
    """What identifies an atom within its row: column values, data set and scene."""

    col: Key
    dataset: str
    scene: str


@dataclass(frozen=True)
class Column:
    """One column: a scene, or (``mean``) all scenes of a data set. ``dataset`` is '' where it is a row key."""

    col: Key
    dataset: str
    mean: bool


@dataclass(frozen=True)
class MissingCause:
    """Why a number is missing. ``place`` names the run or scene, ``state`` its state, ``why`` the reason."""

    place: str
    state: str
    why: str


@dataclass(frozen=True)
class Cell:
    """One number of the table, in the metric's unit; "none" where finished runs say why they cannot have it.

    ``values`` has one entry for each combination of the ``over`` keys. ``mean`` is None without values, ``std``
    (ddof=1) with fewer than two. ``causes`` say what is missing, also where other values are there.
    """

    state: Literal["value", "failed", "missing", "none"]
    values: Mapping[Key, float] = field(default_factory=dict)
    causes: tuple[MissingCause, ...] = ()
    protocols: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of values."""
        return len(self.values)

    @property
    def mean(self) -> float | None:
        """Mean of the values."""
        return fmean(self.values.values()) if self.values else None

    @property
    def std(self) -> float | None:
        """Standard deviation of the values (ddof=1)."""
        if len(self.values) < 2:
            return None
        mean = fmean(self.values.values())
        return math.sqrt(math.fsum((v - mean) ** 2 for v in self.values.values()) / (len(self.values) - 1))


@dataclass
class Table:
    """All cells, and the runs that they are made of."""

    spec: TableSpec
    metrics: list[Metric]
    runs: list[Run]
    atoms: dict[tuple[Key, Place], list[Run]]
    rows: list[Key]
    columns: list[Column]
    cells: dict[tuple[Key, Column, Metric], Cell]
    atom_cells: dict[tuple[Key, Place, Metric], Cell]
    external: set[Key]
    protocols: dict[Metric, set[str]]
    """Protocols of our rows' numbers, or of all rows' where none is ours; '' where a record names none."""
    replaced: int
    """How many runs without scores were left out, because a finished run of the same cell and seed exists."""

    def cell(self, row: Key, column: Column, metric: Metric) -> Cell:
        """One cell; each combination of row, column and metric has one."""
        return self.cells[row, column, metric]

    @property
    def datasets(self) -> list[str]:
        """Names of all data sets in the table, sorted."""
        return sorted({place.dataset for _, place in self.atoms})


def group_runs(runs: Sequence[Run], spec: TableSpec) -> dict[tuple[Key, Place], list[Run]]:
    """The runs of each atom, by its row and place."""
    found: dict[tuple[Key, Key, str, str], list[Run]] = {}
    rows, columns = [reader_of(k) for k in spec.rows], [reader_of(k) for k in spec.cols]
    for run in runs:
        row, cols = tuple([read(run) for read in rows]), tuple([read(run) for read in columns])
        found.setdefault((row, cols, run.record.dataset, run.record.scene), []).append(run)
    return {
        (row, Place(cols, dataset, scene)): members for (row, cols, dataset, scene), members in found.items()
    }


def build_table(runs: Sequence[Run], spec: TableSpec, metrics: Sequence[Metric]) -> Table:
    """Compute all cells of the table, also those without a run. Comparability is checked elsewhere (checks.py)."""
    atoms = group_runs(runs, spec)
    rows = sorted({row for row, _ in atoms}, key=lambda row: [sort_key(v) for v in row])
    columns = _all_columns([place for _, place in atoms], spec)
    replaced = 0
    for key, members in atoms.items():
        atoms[key], gone = _without_replaced(members, spec)
        replaced += gone
    atom_cells = {
        (row, place, metric): _atom_cell(members, metric, spec)
        for (row, place), members in atoms.items()
        for metric in metrics
    }
    scenes = _expected_scenes(atoms, spec)
    index: dict[tuple[Key, Column], list[Place]] = {}
    for row, place in atoms:
        for column in _columns_of(place, spec):
            index.setdefault((row, column), []).append(place)
    cells: dict[tuple[Key, Column, Metric], Cell] = {}
    for row in rows:
        for column in columns:
            places = index.get((row, column), [])
            expected = scenes.get(
                (row if "scene" in spec.rows or "dataset" in spec.rows else (), column.dataset), []
            )
            for metric in metrics:
                found = {place: atom_cells[row, place, metric] for place in places}
                if not column.mean:
                    cells[row, column, metric] = next(iter(found.values()), _NO_RECORD)
                else:
                    cells[row, column, metric] = _mean_cell(found, expected, spec)
    external = {row for (row, _), members in atoms.items() if any(r.external for r in members)}
    protocols = _protocols_of_metrics(cells, external)

    return Table(
        spec,
        list(metrics),
        list(runs),
        atoms,
        rows,
        columns,
        cells,
        atom_cells,
        external,
        protocols,
        replaced,
    )


def _protocols_of_metrics(
    cells: Mapping[tuple[Key, Column, Metric], Cell], external: set[Key]
) -> dict[Metric, set[str]]:
    found: dict[Metric, tuple[set[str], set[str]]] = {}
    for (row, _, metric), cell in cells.items():
        kept = found.setdefault(metric, (set(), set()))[row in external]
        if cell.values:
            kept.update(cell.protocols or ("",))
    return {metric: ours or others for metric, (ours, others) in found.items()}


def keys_text(keys: Sequence[str], values: Key) -> str:
    """'model=neus, scene=mug'; keys without a value are left out."""
    return ", ".join(f"{k}={value_text(v)}" for k, v in zip(keys, values, strict=True) if v not in (None, ""))


def _join(*parts: str) -> str:
    return ", ".join(p for p in parts if p)


def _expected_scenes(
    atoms: Mapping[tuple[Key, Place], object], spec: TableSpec
) -> dict[tuple[Key, str], list[tuple[str, str]]]:
    """The (data set, scene) pairs that a mean must cover, by row and data set.

    These are the scenes that any row has. Where scene or data set is a row key, each row has its own.
    """
    own = "scene" in spec.rows or "dataset" in spec.rows
    found: dict[tuple[Key, str], set[tuple[str, str]]] = {}
    for row, place in atoms:
        dataset = "" if "dataset" in spec.rows else place.dataset
        found.setdefault((row if own else (), dataset), set()).add((place.dataset, place.scene))
    if "dataset" in spec.rows and "scene" not in spec.rows:  # the data set's scenes in all rows
        every: dict[str, set[tuple[str, str]]] = {}
        for scenes in found.values():
            for dataset, scene in scenes:
                every.setdefault(dataset, set()).add((dataset, scene))
        found = {key: set().union(*(every[d] for d, _ in scenes)) for key, scenes in found.items()}
    return {key: sorted(scenes, key=lambda s: sort_key(s[1])) for key, scenes in found.items()}


def _columns_of(place: Place, spec: TableSpec) -> list[Column]:
    dataset = "" if "dataset" in spec.rows else place.dataset
    if "scene" not in spec.cols:
        return [Column(place.col, dataset, "scene" not in spec.rows)]
    at = spec.cols.index("scene")
    return [
        Column(place.col, dataset, False),
        Column((*place.col[:at], None, *place.col[at + 1 :]), dataset, True),
    ]


def _all_columns(places: Sequence[Place], spec: TableSpec) -> list[Column]:
    """All columns in printed order: each data set's mean follows its scenes. A single scene has no mean column."""
    found = {column for place in places for column in _columns_of(place, spec)}
    if "scene" in spec.cols:
        at = spec.cols.index("scene")

        def of(c: Column) -> Column:
            return Column((*c.col[:at], None, *c.col[at + 1 :]), c.dataset, True)

        parts: dict[Column, int] = {}
        for column in found:
            if not column.mean:
                parts[of(column)] = parts.get(of(column), 0) + 1
        found -= {mean for mean, n in parts.items() if n < 2}
    return sorted(found, key=lambda c: (sort_key(c.dataset), c.mean, [sort_key(v) for v in c.col]))


def _without_replaced(members: list[Run], spec: TableSpec) -> tuple[list[Run], int]:
    done = {tuple(r.get(k) for k in spec.over) for r in members if r.scored}
    kept = [r for r in members if r.scored or tuple(r.get(k) for k in spec.over) not in done]
    return kept, len(members) - len(kept)


def _atom_cell(members: Sequence[Run], metric: Metric, spec: TableSpec) -> Cell:
    values: dict[Key, float] = {}
    causes: list[MissingCause] = []
    without: dict[Key, str] = {}
    protocols: dict[str, None] = {}
    for run in members:
        over = tuple([run.get(k) for k in spec.over])
        if not run.scored:
            state, why = run.why_not_scored()
            causes.append(MissingCause(keys_text(spec.over, over), state, why))
            continue
        number, why = metric_value(run, metric)
        if number is None:
            if why.startswith("its record has no "):
                without[over] = why
            else:
                state = "none" if has_reason(run, metric) else "failed"
                causes.append(MissingCause(keys_text(spec.over, over), state, why))
            continue
        values[over] = number  # one number a seed: checks.py refuses a second one, whatever is allowed
        if run.record.scores is not None and run.record.scores.protocol:
            protocols.setdefault(run.record.scores.protocol)
    # a method's images and its mesh may be scored into two records: a score must be in one of them only
    causes += [
        MissingCause(keys_text(spec.over, o), "missing", w) for o, w in without.items() if o not in values
    ]
    if values:
        return Cell("value", values, tuple(causes), tuple(protocols))
    return Cell(_state(causes), {}, tuple(causes))


def _state(causes: Sequence[MissingCause]) -> Literal["failed", "missing", "none"]:
    """Of a cell without values: the worst of its causes."""
    states = {c.state for c in causes}
    if not states <= {*MISSING_STATES, "missing", "none"}:
        return "failed"
    return "none" if states == {"none"} else "missing"


_NO_RECORD = Cell("missing", {}, (MissingCause("", "missing", "no record"),))


def _mean_cell(found: Mapping[Place, Cell], expected: Sequence[tuple[str, str]], spec: TableSpec) -> Cell:
    """The cell of a mean column. Each value is one seed's mean over the scenes.

    The cell is empty, with its causes, unless every expected scene has a value of every seed.
    """
    by_scene = {(place.dataset, place.scene): cell for place, cell in found.items()}
    causes: list[MissingCause] = []
    for scene in expected:
        cell = by_scene.get(scene)
        if cell is None:
            causes.append(MissingCause(f"scene={scene[1]}", "missing", "no record"))
        elif not cell.values:
            causes += [MissingCause(_join(f"scene={scene[1]}", c.place), c.state, c.why) for c in cell.causes]
    if causes:
        state = _state(causes)
        return Cell("missing" if state == "failed" and "scene" in spec.cols else state, {}, tuple(causes))
    every = list(dict.fromkeys(over for cell in by_scene.values() for over in cell.values))
    for (_, scene), cell in by_scene.items():
        for over in every:
            if over not in cell.values:
                at = [c.why for c in cell.causes if c.place == keys_text(spec.over, over)]
                named = keys_text(spec.over, over)
                causes.append(
                    MissingCause(_join(f"scene={scene}", named), "missing", (at or ["no record"])[0])
                )
    if causes or not every:
        return Cell("missing", {}, tuple(causes))
    protocols = tuple(dict.fromkeys(p for cell in by_scene.values() for p in cell.protocols))
    values = {over: fmean(cell.values[over] for cell in by_scene.values()) for over in every}
    return Cell("value", values, (), protocols)
