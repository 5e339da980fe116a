"""Things of different sizes in groups that a bound on memory allows."""

from collections.abc import Iterator, Sequence


def groups(sizes: Sequence[int], at_once: int, most: int | None = None) -> Iterator[tuple[int, int]]:
    """Ranges (start, end) of neighbours that are no larger together than ``at_once``, or of one alone.

    Args:
        most: neighbours in a group; None: any number.
    """
    start = 0
    while start < len(sizes):
        end, total = start + 1, sizes[start]
        while end < len(sizes) and (most is None or end < start + most) and total + sizes[end] <= at_once:
            total += sizes[end]
            end += 1
        yield start, end
        start = end
