"""Views shared out among the processes of a run."""

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Sharing(Protocol):
    """What scoring needs of the processes that score together."""

    rank: int
    size: int

    def gather(self, value: T) -> list[T]:
        """The values of all processes in their order, in each of them."""
        ...


class Alone:
    """One process, which scores all views."""

    rank, size = 0, 1

    def gather(self, value: T) -> list[T]:
        return [value]


ALONE = Alone()


def my_views(
    views: Sequence[int], team: Sharing, to_the_first: Collection[int] = frozenset()
) -> tuple[int, ...]:
    """The views that this process renders, in their order.

    Those ``to_the_first`` are the first process's, as many as its share has room for.
    """
    if team.size == 1:
        return tuple(views)
    order = sorted(views, key=lambda view: view not in to_the_first)  # keeps the order among equals
    n = len(order)
    mine = set(order[n * team.rank // team.size : n * (team.rank + 1) // team.size])
    return tuple(view for view in views if view in mine)
