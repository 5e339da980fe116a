"""Which views an image_ids means: whole names first, and nothing ambiguous in silence."""

from pathlib import Path

import pytest

from isosweep.data.loading import Ids, ViewOptions
from isosweep.data.splits import choose, hold_out, spread, validating

HERE = Path("here")


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        (["img.png"], [1]),
        (["0/img.png"], [0]),
        (["z"], [2]),
        (["0/img"], [0]),
        ("z.png", [2]),
        ("0,2", [0, 2]),
        ("1:", [1, 2, 3]),
        ("0012", [3]),
        (["0012"], [3]),
        ("3", [3]),
        ([-1, 0], [0, 3]),
    ],
)
def test_a_whole_name_wins_over_a_part_of_another(ids: Ids, found: list[int]) -> None:
    assert choose(["0/img.png", "img.png", "z.png", "0012.png"], ids, HERE) == found


def test_a_name_that_two_views_have_in_part_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"'a\.png' may be left/a\.png or right/a\.png in here: give the whole name"
    ):
        choose(["left/a.png", "right/a.png"], ["a.png"], HERE)


def test_a_long_list_is_no_file_name() -> None:
    assert choose([f"{i}.png" for i in range(300)], ",".join(map(str, range(0, 300, 2))), HERE) == list(
        range(0, 300, 2)
    )


def test_a_file_of_names(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("# the good ones\nb.png\n\na\n")
    assert choose(["a.png", "b.png", "c.png"], str(tmp_path / "names.txt"), HERE) == [0, 1]


def test_spread_is_even_and_keeps_the_ends() -> None:
    assert spread(10, None) == list(range(10))
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(10, 1) == [0]
    assert spread(3, 7) == [0, 1, 2]
    with pytest.raises(ValueError, match="at least 1, found 0"):
        spread(10, 0)


@pytest.mark.parametrize(
    ("views", "taken"),
    [
        (19, []),
        (20, [0, 10]),
        (21, [0, 10, 20]),
        (49, [0, 10, 20, 30, 40]),
        (80, [0, 10, 20, 30, 40, 50, 60, 70]),
        (100, [0, 10, 30, 40, 50, 60, 80, 90]),  # eight of ten, the ends among them
    ],
)
def test_auto_takes_every_tenth_view_and_at_most_eight(views: int, taken: list[int]) -> None:
    assert validating(range(views), "auto") == taken
    assert validating(range(views), None) == []
    assert validating(range(views), 7) == list(range(0, views, 7)), "as in earlier versions"


@pytest.mark.parametrize("test_every", [None, 8])
def test_validation_takes_neither_test_nor_training_views(test_every: int | None) -> None:
    options = ViewOptions("s", test_every=test_every, val_every="auto", n_images=10)
    splits = hold_out(range(100), options, HERE)
    assert len(splits.val) == 8
    assert len(splits.train) == 10
    held = {*splits.val, *splits.test}
    assert len(held) == len(splits.val) + len(splits.test)
    assert held.isdisjoint(splits.train)
    assert splits.chosen == tuple(range(100)), "the frame is that of all views"
    numbered, held_out = splits.renumbered()
    assert held_out == (test_every is not None)
    assert set(numbered["val"]).isdisjoint(numbered["test"])
    few = hold_out(range(22), options, HERE)  # of which test_every=8 leaves 19
    assert len(few.val) == (3 if test_every is None else 0)
