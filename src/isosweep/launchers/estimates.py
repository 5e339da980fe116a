"""How long planned runs will take, from the records of runs that are finished."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING

from isosweep.record.summaries import RunSummary

if TYPE_CHECKING:
    from isosweep.launchers.planning import (
        Planned,  # composes configs, which a table of records does not need
    )


def estimate(planned: Sequence["Planned"], rows: Iterable[RunSummary]) -> dict[int, float]:
    """Number -> seconds, for the runs that start and resemble a finished one.

    It is made from finished runs of the same data set, label and number of steps; without any, from runs of
    the same label, by their time per step. Scoring and export are part of it, also for a resumed run.
    """
    same: dict[tuple[str, str, int], list[RunSummary]] = {}
    alike: dict[str, list[RunSummary]] = {}
    for row in rows:
        if row.status == "finished" and row.times.total_s > 0 and row.max_steps:
            same.setdefault((row.dataset, row.label, row.max_steps), []).append(row)
            alike.setdefault(row.label, []).append(row)
    found: dict[int, float] = {}
    for one in planned:
        if not one.starts or one.max_steps == 0:
            continue
        past = same.get((one.dataset, one.label, one.max_steps)) or alike.get(one.label)
        if past:
            train = median(r.times.train_s / r.max_steps for r in past)
            rest = median(r.times.total_s - r.times.train_s - r.times.view_s for r in past)
            found[one.number] = train * one.steps_left + rest
    return found


def wall_clock(seconds: Iterable[float], slots: int) -> float:
    """Seconds until the last of the runs has ended, started in order in ``slots`` slots."""
    free = [0.0] * max(1, slots)
    for one in seconds:
        free.sort()
        free[0] += one
    return max(free)


def left_of_sweep(
    at_work: Sequence[tuple[float, float | None]], waiting: int, finished_s: Sequence[float]
) -> float | None:
    """Seconds until a sweep at work is over; None while nothing tells how long its runs take.

    Args:
        at_work: of each run at work the seconds so far, and those that its training has left, as far as it is known.
        waiting: runs that have not started.
        finished_s: seconds of those that are finished.
    """
    whole = list(finished_s) or [past + left for past, left in at_work if left is not None]
    if not whole:
        return None
    each = median(whole)
    rest = [max(left or 0.0, each - past) for past, left in at_work]
    return wall_clock([*rest, *[each] * waiting], len(at_work))


def human(seconds: float) -> str:
    """'45 s', '12 min', '3.4 h', '2.1 days'."""
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (129_600, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}" if unit != "h" else f"{seconds / size:.1f} h"
    return f"{seconds / 86_400:.1f} days"
