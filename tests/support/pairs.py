"""Fewer combinations than all of them: every two options still meet."""

import itertools
from collections.abc import Sequence


def covering_pairs(*choices: Sequence[str]) -> list[tuple[str, ...]]:
    """Rows with one option of each list, so that every two options of different lists stand together in some row.

    What goes wrong between two options shows in some row; what needs three certain ones may not. Each row is the first
    of those that bring the most new pairs.
    """
    rows = [(row, pairs_of(row)) for row in itertools.product(*choices)]
    left = set().union(*(pairs for _, pairs in rows))
    chosen = []
    # what a row brings never grows: once none brings so many, none will again
    for most in range(len(rows[0][1]), 0, -1):
        for row, pairs in rows:
            if len(pairs & left) == most:
                chosen.append(row)
                left -= pairs
    return sorted(chosen)


def pairs_of(row: Sequence[str]) -> set[tuple[tuple[int, str], ...]]:
    """Every two options of a row, each with the number of its list."""
    return set(itertools.combinations(enumerate(row), 2))
