"""Runs -> cells: which runs belong together, and their mean and spread.

An atom is all runs of one row, one column and one scene: the smallest group whose runs may differ in the
``over`` keys only. A cell is one atom, or the mean over the scenes of a data set.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from isosweep.report.collect import MISSING_STATES, Run
from isosweep.report.keys import order, text
from isosweep.report.metrics import Metric, value

Key = tuple[Any, ...]
"""Values of the row keys, of the column keys, or of the ``over`` keys, in their order."""


@dataclass(frozen=True)
class Spec:
    """What is asked for: keys by name."""

    rows: tuple[str, ...]
    cols: tuple[str, ...]
    over: tuple[str, ...] = ("seed",)

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.rows, *self.cols)


@dataclass(frozen=True)
class Place:
    """Column values, data set and scene of an atom."""

    col: Key
    dataset: str
    scene: str


@dataclass(frozen=True)
class Column:
    """One column: a scene, or the mean over a data set's scenes. ``dataset`` is '' where rows tell it."""

    col: Key
    dataset: str
    mean: bool


@dataclass(frozen=True)
class Cause:
    """Why a number is missing: of which run (or scene), in which state, and why."""

    place: str
    state: str
    why: str


@dataclass(frozen=True)
class Cell:
    """``mean`` and ``std`` (ddof=1, None for n=1) of ``values``, one value for each combination of ``over``."""

    state: Literal["value", "failed", "missing"]
    values: Mapping[Key, float] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()
    protocols: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float | None:
        return fmean(self.values.values()) if self.values else None

    @property
    def std(self) -> float | None:
        if len(self.values) < 2:
            return None
        mean = fmean(self.values.values())
        return math.sqrt(math.fsum((v - mean) ** 2 for v in self.values.values()) / (len(self.values) - 1))


@dataclass
class Table:
    spec: Spec
    metrics: list[Metric]
    runs: list[Run]
    atoms: dict[tuple[Key, Place], list[Run]]
    rows: list[Key]
    columns: list[Column]
    cells: dict[tuple[Key, Column, Metric], Cell]
    atom_cells: dict[tuple[Key, Place, Metric], Cell]
    external: set[Key]
    protocols: dict[Metric, set[str]]
    """Of our rows' numbers ('' for not said); of all rows' where none is ours."""
    replaced: int
    """Failed runs whose place a finished run of the same cell and seed has taken."""

    def cell(self, row: Key, column: Column, metric: Metric) -> Cell:
        return self.cells[row, column, metric]

    @property
    def datasets(self) -> list[str]:
        return sorted({place.dataset for _, place in self.atoms})


def group(runs: Sequence[Run], spec: Spec) -> dict[tuple[Key, Place], list[Run]]:
    """(row, place) -> runs."""
    atoms: dict[tuple[Key, Place], list[Run]] = {}
    for run in runs:
        row = tuple([run.get(k) for k in spec.rows])
        place = Place(tuple([run.get(k) for k in spec.cols]), run.record.dataset, run.record.scene)
        atoms.setdefault((row, place), []).append(run)
    return atoms


def build(runs: Sequence[Run], spec: Spec, metrics: Sequence[Metric]) -> Table:
    """All cells of the table, also those without a run; nothing is checked here (see checks.py)."""
    atoms = group(runs, spec)
    rows = sorted({row for row, _ in atoms}, key=lambda row: [order(v) for v in row])
    columns = _columns([place for _, place in atoms], spec)
    replaced = 0
    for key, members in atoms.items():
        atoms[key], gone = _without_replaced(members, spec)
        replaced += gone
    atom_cells = {
        (row, place, metric): _atom(members, metric, spec)
        for (row, place), members in atoms.items()
        for metric in metrics
    }
    scenes = _scenes(atoms, spec)
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
                    cells[row, column, metric] = next(iter(found.values()), _nothing(row, column, spec))
                else:
                    cells[row, column, metric] = _over_scenes(found, expected, spec)
    external = {row for (row, _), members in atoms.items() if any(r.external for r in members)}
    protocols = _protocols(cells, external)
    every = list(runs)
    return Table(
        spec, list(metrics), every, atoms, rows, columns, cells, atom_cells, external, protocols, replaced
    )


def _protocols(
    cells: Mapping[tuple[Key, Column, Metric], Cell], external: set[Key]
) -> dict[Metric, set[str]]:
    found: dict[Metric, tuple[set[str], set[str]]] = {}
    for (row, _, metric), cell in cells.items():
        kept = found.setdefault(metric, (set(), set()))[row in external]
        if cell.values:
            kept.update(cell.protocols or ("",))
    return {metric: ours or others for metric, (ours, others) in found.items()}


def describe(keys: Sequence[str], values: Key) -> str:
    """'model=neus, scene=mug'; keys that a record does not have are left out."""
    return ", ".join(f"{k}={text(v)}" for k, v in zip(keys, values, strict=True) if v not in (None, ""))


def _said(*parts: str) -> str:
    return ", ".join(p for p in parts if p)


def _scenes(
    atoms: Mapping[tuple[Key, Place], object], spec: Spec
) -> dict[tuple[Key, str], list[tuple[str, str]]]:
    """Every scene of a data set that any row has; of the row itself where scenes or data sets are rows."""
    own = "scene" in spec.rows or "dataset" in spec.rows
    found: dict[tuple[Key, str], set[tuple[str, str]]] = {}
    for row, place in atoms:
        dataset = "" if "dataset" in spec.rows else place.dataset
        found.setdefault((row if own else (), dataset), set()).add((place.dataset, place.scene))
    if "dataset" in spec.rows and "scene" not in spec.rows:  # all scenes of the data set, not only the row's
        every: dict[str, set[tuple[str, str]]] = {}
        for scenes in found.values():
            for dataset, scene in scenes:
                every.setdefault(dataset, set()).add((dataset, scene))
        found = {key: set().union(*(every[d] for d, _ in scenes)) for key, scenes in found.items()}
    return {key: sorted(scenes, key=lambda s: order(s[1])) for key, scenes in found.items()}


def _columns_of(place: Place, spec: Spec) -> list[Column]:
    dataset = "" if "dataset" in spec.rows else place.dataset
    if "scene" not in spec.cols:
        return [Column(place.col, dataset, "scene" not in spec.rows)]
    at = spec.cols.index("scene")
    return [
        Column(place.col, dataset, False),
        Column((*place.col[:at], None, *place.col[at + 1 :]), dataset, True),
    ]


def _columns(places: Sequence[Place], spec: Spec) -> list[Column]:
    """In order, each data set's mean after its scenes; no mean of a single scene."""
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
    return sorted(found, key=lambda c: (order(c.dataset), c.mean, [order(v) for v in c.col]))


def _without_replaced(members: list[Run], spec: Spec) -> tuple[list[Run], int]:
    done = {tuple(r.get(k) for k in spec.over) for r in members if r.scored}
    kept = [r for r in members if r.scored or tuple(r.get(k) for k in spec.over) not in done]
    return kept, len(members) - len(kept)


def _atom(members: Sequence[Run], metric: Metric, spec: Spec) -> Cell:
    values: dict[Key, float] = {}
    causes: list[Cause] = []
    without: dict[Key, str] = {}
    protocols: dict[str, None] = {}
    for run in members:
        over = tuple([run.get(k) for k in spec.over])
        if not run.scored:
            state, why = run.why_not()
            causes.append(Cause(describe(spec.over, over), state, why))
            continue
        number, why = value(run, metric)
        if number is None:
            if why.startswith("its record has no "):
                without[over] = why
            else:
                causes.append(Cause(describe(spec.over, over), "failed", why))
            continue
        same = over
        repeat = 1
        while same in values:  # only where --allow let it happen
            repeat += 1
            same = (*over, repeat)
        values[same] = number
        if run.record.scores is not None and run.record.scores.protocol:
            protocols.setdefault(run.record.scores.protocol)
    # a method's images and its mesh may be scored into two records: what one lacks the other has
    causes += [Cause(describe(spec.over, o), "missing", w) for o, w in without.items() if o not in values]
    if values:
        return Cell("value", values, tuple(causes), tuple(protocols))
    open_ = all(c.state in (*MISSING_STATES, "missing") for c in causes)
    return Cell("missing" if open_ else "failed", {}, tuple(causes))


def _nothing(row: Key, column: Column, spec: Spec) -> Cell:
    return Cell("missing", {}, (Cause("", "missing", "no record"),))


def _over_scenes(found: Mapping[Place, Cell], expected: Sequence[tuple[str, str]], spec: Spec) -> Cell:
    """Each seed's mean over the scenes, then mean and spread over seeds; only where every scene has every seed."""
    by_scene = {(place.dataset, place.scene): cell for place, cell in found.items()}
    causes: list[Cause] = []
    for scene in expected:
        cell = by_scene.get(scene)
        if cell is None:
            causes.append(Cause(f"scene={scene[1]}", "missing", "no record"))
        elif not cell.values:
            causes += [Cause(_said(f"scene={scene[1]}", c.place), c.state, c.why) for c in cell.causes]
    if causes:
        failed = any(c.state not in (*MISSING_STATES, "missing") for c in causes)
        return Cell("failed" if failed and "scene" not in spec.cols else "missing", {}, tuple(causes))
    every = list(dict.fromkeys(over for cell in by_scene.values() for over in cell.values))
    for (_, scene), cell in by_scene.items():
        for over in every:
            if over not in cell.values:
                at = [c.why for c in cell.causes if c.place == describe(spec.over, over[: len(spec.over)])]
                named = describe(spec.over, over[: len(spec.over)])
                causes.append(Cause(_said(f"scene={scene}", named), "missing", (at or ["no record"])[0]))
    if causes or not every:
        return Cell("missing", {}, tuple(causes))
    protocols = tuple(dict.fromkeys(p for cell in by_scene.values() for p in cell.protocols))
    values = {over: fmean(cell.values[over] for cell in by_scene.values()) for over in every}
    return Cell("value", values, (), protocols)
