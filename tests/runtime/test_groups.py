"""Groups of things under a bound on their sum."""

from isosweep.runtime.groups import groups


def test_neighbours_fill_the_bound_and_a_large_one_is_alone() -> None:
    assert list(groups([3, 4, 5, 20, 1, 1], 8)) == [(0, 2), (2, 3), (3, 4), (4, 6)]
    assert list(groups([4, 4], 8)) == [(0, 2)], "the bound itself is allowed"
    assert list(groups([1, 1, 1, 1, 1], 8, most=2)) == [(0, 2), (2, 4), (4, 5)]
    assert list(groups([], 8)) == []
