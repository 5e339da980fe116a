"""What "seeds until decided" has found for a sweep: written beside its starts, printed as a note of its table.

The file is derived from the runs' records. The same command makes it again.
"""

from collections.abc import Sequence
from math import floor, log10
from pathlib import Path

import msgspec

from isosweep.record.launch import safe_name, sweeps_root
from isosweep.record.reading import Unreadable, decoded
from isosweep.report.ranking import format_number
from isosweep.runtime.files import atomic_write_bytes

FILE = "until.json"


class PairResult(msgspec.Struct, frozen=True, kw_only=True):
    """Two rows. The numbers are ``row`` minus ``baseline``; None before the first look."""

    row: str
    baseline: str
    n: int
    """Seeds that both have and that the decision used."""
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    better: str | None = None
    """The better of the two rows; None if the pair is undecided."""
    why: str = ""
    """Why an undecided pair got no more seeds."""

    @property
    def numbers(self) -> tuple[str, str]:
        """Difference and interval as they are printed, with two digits of half the interval."""
        if self.mean is None:
            return "–", "–"
        if self.low is None or self.high is None:
            return f"{self.mean:+.3g}", "–"
        half = (self.high - self.low) / 2
        digits = min(8, max(0, 1 - floor(log10(half)))) if half > 0 else 3
        low, high = (format_number(v, digits) for v in (self.low, self.high))
        return format_number(self.mean, digits), f"[{low}, {high}]"


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """All pairs of a sweep."""

    metric: str
    alpha: float
    max_seeds: int
    tried: int
    """Runs that the rows have so far, whichever command trained them."""
    possible: int
    """Runs that the largest number of seeds for every row would have taken."""
    pairs: list[PairResult]

    def note(self) -> str:
        """One sentence for a table."""
        decided = [p for p in self.pairs if p.better is not None]
        text = (
            f"Seeds until decided, by {self.metric}: {self.tried} of {self.possible} possible runs were tried (at most "
            f"{self.max_seeds} seeds); {len(decided)} of {len(self.pairs)} pairs decided"
        )
        if decided:
            text += f", with a chance of at most {100 * self.alpha:g}% that any of them is wrong"
        found = [
            f"{p.row} − {p.baseline} = {p.numbers[0]} {p.numbers[1]} after {p.n} seeds" for p in decided[:6]
        ]
        return (
            "; ".join([text, *found, *([f"and {len(decided) - 6} more"] if len(decided) > 6 else [])]) + "."
        )


_DECODER = msgspec.json.Decoder(Decisions)


def decisions_path(run_root: Path, sweep: str) -> Path:
    """Where a sweep's decisions lie."""
    return sweeps_root(run_root) / safe_name(sweep) / FILE


def write_decisions(path: Path, decisions: Decisions) -> None:
    """Write the file atomically. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, msgspec.json.format(msgspec.json.encode(decisions), indent=1) + b"\n")


def decision_notes(sources: Sequence[str], root: Path) -> list[str]:
    """The notes of those sources that are sweeps of this kind; of a file that cannot be read, what is wrong with it."""
    notes = []
    for source in sources:
        path = decisions_path(root, source)
        if "/" in source or not path.is_file():
            continue
        try:
            notes.append(decoded(path.read_bytes(), _DECODER.decode).note())
        except (Unreadable, OSError) as error:
            notes.append(f"{path} cannot be read ({error}): the sweep's command writes it again.")
    return notes
