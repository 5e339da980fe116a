"""Which views an image_ids means: whole names first, and nothing ambiguous in silence."""

from pathlib import Path

import pytest

from isosweep.data.loading import Ids
from isosweep.data.splits import choose, spread

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
