"""``export.crop``: six numbers, two corners, or the viewer's json; everything else is refused with what to give."""

import json
from pathlib import Path

import pytest

from isosweep.config.crop import box_of, write
from isosweep.errors import InputError

BOX = ((-0.5, 0.0, 0.25), (0.5, 1.0, 0.75))


def test_a_box_in_all_its_spellings(tmp_path: Path) -> None:
    assert box_of(None) is None
    assert box_of([-0.5, 0, 0.25, 0.5, 1, 0.75]) == BOX
    assert box_of([[-0.5, 0, 0.25], [0.5, 1, 0.75]]) == BOX
    assert box_of(BOX) == BOX
    write(tmp_path / "crop.json", BOX)
    assert box_of(str(tmp_path / "crop.json")) == BOX
    assert json.loads((tmp_path / "crop.json").read_text())["unit"] == "normalised"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([0, 0, 0, 1, 1], "is no box: give six numbers"),
        ([0, 0, 0, 1, 1, float("inf")], "is no box"),
        ([0, 0, 0, 1, 1, True], "is no box"),
        (3.0, "is no box"),
        ([0, 0, 0, 1, 0, 1], r"the box from \[0, 0, 0\] to \[1, 0, 1\] has no inside"),
        ("nowhere.json", "there is no such file: give six numbers"),
    ],
)
def test_what_is_no_box_is_refused(value: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        box_of(value)


@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"low": [0, 0, 0]}', '{"low": 1, "high": 2}'])
def test_a_file_that_is_none_of_the_viewers_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"is not a json with|is no box"):
        box_of(str(path))
