"""The smaller set of combinations has every pair."""

import itertools

from tests.support.pairs import covering_pairs


def test_every_two_options_meet_in_few_rows():
    choices = (["a", "b", "c"], ["x", "y", "z"], list("1234567"), list("tuvw"))
    rows = covering_pairs(*choices)
    for (i, left), (j, right) in itertools.combinations(enumerate(choices), 2):
        assert {(row[i], row[j]) for row in rows} == set(itertools.product(left, right))
    assert 28 <= len(rows) <= 36, "28 is the least, 252 are all"


def test_two_lists_have_no_fewer_rows_than_their_product():
    assert covering_pairs(["a", "b"], ["x", "y"]) == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]
