"""Compares rows with a baseline row scene by scene and seed by seed: hard scenes then do not hide small effects.

The difference of a scene is the mean over the seeds that both rows have of it, each seed's value minus the baseline's
value of the same seed. A seed that only one of them has would move the difference by its own luck.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean

from isosweep.report.cells import Cell, Key, Place, Table, keys_text
from isosweep.report.key_names import unique_ending
from isosweep.report.keys import ReportError, names_value, suggestion, value_text
from isosweep.report.metrics import Metric

RESAMPLES = 10_000
SEED = 0


@dataclass(frozen=True)
class Comparison:
    """One row minus its baseline in one metric, in the metric's unit.

    ``low`` and ``high`` bound the 95% bootstrap interval of the mean difference; None for fewer than two scenes.
    """

    row: Key
    baseline: Key
    metric: Metric
    differences: Mapping[Place, float]
    low: float | None
    high: float | None
    better: int
    worse: int
    ties: int
    """Number of scenes with exactly equal values; the sign test leaves them out."""
    p: float | None
    """p-value of the two-sided sign test; None if there is no pair, or only ties."""
    missing: tuple[str, ...]
    """Scenes without a seed that both rows have."""
    seeds: Mapping[Place, int]
    """How many seeds (combinations of the ``over`` keys) both rows have of each scene in ``differences``."""
    left_out: int = 0
    """How many values of these scenes have no partner, because the other row lacks their seed."""

    @property
    def n(self) -> int:
        """Number of scenes of which both rows have a seed."""
        return len(self.differences)

    @property
    def mean(self) -> float | None:
        """Mean of the differences; None without any."""
        return fmean(self.differences.values()) if self.differences else None


def compare_rows(
    table: Table, conditions: Sequence[tuple[str, str]], mixed: bool = False
) -> tuple[list[Comparison], list[str]]:
    """Compare each row with its baseline row. Returns the comparisons, and notes on what could not be compared.

    If one row meets the conditions, all other rows are compared with it. If several do, each row is compared with
    the one that equals it in every other key.

    Args:
        conditions: row key and its printed value.
        mixed: whether rows of different protocols are compared, too.

    Raises:
        ReportError: no row meets the conditions, or a condition's key is no row key.
    """
    keys = table.spec.rows
    conditions = [(_row_key(key, keys), value) for key, value in conditions]
    base = [r for r in table.rows if all(names_value(r[keys.index(k)], v) for k, v in conditions)]
    if not base:
        known = ", ".join(sorted({value_text(r[keys.index(k)]) for r in table.rows for k, _ in conditions}))
        wanted = ",".join(f"{k}={v}" for k, v in conditions)
        raise ReportError(f"--against {wanted}: no row has these values; there are: {known}")
    found: list[Comparison] = []
    notes: list[str] = []
    named = {keys.index(k) for k, _ in conditions}
    cells: dict[tuple[Key, Metric], dict[Place, Cell]] = {}
    for (row, place, metric), cell in table.atom_cells.items():
        cells.setdefault((row, metric), {})[place] = cell
    for row in table.rows:
        if row in base:
            continue
        partners = base
        if len(base) > 1:
            partners = [b for b in base if all(b[i] == v for i, v in enumerate(row) if i not in named)]
        if len(partners) != 1:
            notes.append(f"{keys_text(keys, row)} has no baseline row that equals it in every other key")
            continue
        for metric in (m for m in table.metrics if not m.cost):
            mine, theirs = cells[row, metric], cells[partners[0], metric]
            a, b = ({p for c in side.values() for p in c.protocols} for side in (mine, theirs))
            if a and b and a != b and not mixed:
                protocols = f"{', '.join(sorted(a))} and {', '.join(sorted(b))}"
                notes.append(
                    f"{keys_text(keys, row)} in {metric.requested}: scored under other protocols ({protocols})"
                )
                continue
            found.append(_comparison(row, partners[0], metric, mine, theirs))
    return found, notes


def _row_key(word: str, keys: Sequence[str]) -> str:
    """The row key that a word names: itself, or the unique end of one, as headings show it."""
    found = unique_ending(word, keys, "--against")
    if found is None:
        raise ReportError(
            f"--against {word}=...: {word} is no row key.{suggestion(word, keys)} The row keys are {', '.join(keys)}"
        )
    return found


def _comparison(
    row: Key, baseline: Key, metric: Metric, mine: Mapping[Place, Cell], theirs: Mapping[Place, Cell]
) -> Comparison:
    every = {**mine, **theirs}
    differences: dict[Place, float] = {}
    seeds: dict[Place, int] = {}
    left_out = 0
    for place in (p for p in every if p in mine and p in theirs):
        ours, others = mine[place].values, theirs[place].values
        common = [over for over in ours if over in others]
        if common:
            differences[place] = fmean(ours[over] - others[over] for over in common)
            seeds[place] = len(common)
            left_out += len(ours) + len(others) - 2 * len(common)
    values = list(differences.values())
    plus, minus = sum(v > 0 for v in values), sum(v < 0 for v in values)
    better, worse = (minus, plus) if metric.direction == "down" else (plus, minus)
    low, high = bootstrap_interval(values)
    missing = tuple(sorted(p.scene for p in every if p not in differences))
    ties = len(values) - plus - minus
    p = sign_test(plus, minus)
    return Comparison(
        row, baseline, metric, differences, low, high, better, worse, ties, p, missing, seeds, left_out
    )


def bootstrap_interval(
    values: Sequence[float], resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float | None, float | None]:
    """The 95% bootstrap interval of the mean: 2.5% and 97.5% quantiles of the means of resampled values.

    (None, None) for fewer than two values.
    """
    if len(values) < 2:
        return None, None
    import numpy as np  # importing it takes 0.1 s, which a table without comparisons saves

    known = np.asarray(values)
    drawn = np.random.default_rng(seed).integers(0, len(known), (resamples, len(known)))
    low, high = np.quantile(known[drawn].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def sign_test(plus: int, minus: int) -> float | None:
    """p-value of the two-sided sign test.

    It is the probability of a split at least as uneven as ``plus`` to ``minus`` if both signs were equally likely;
    None without a difference.
    """
    n = plus + minus
    if n == 0:
        return None
    tail = sum(comb(n, k) for k in range(min(plus, minus) + 1)) / 2**n
    return min(1.0, 2 * tail)
