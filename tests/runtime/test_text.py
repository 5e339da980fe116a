"""Text that a terminal would obey, made visible."""

import pytest

from isosweep.runtime.text import natural_key, printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain neus·s0 α=0.5 雪 é", "plain neus·s0 α=0.5 雪 é"),
        ("", ""),
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("a\x9b31mb", r"a\x9b31mb"),  # C1: a control sequence of one byte
        ("del\x7f back\b\r", r"del\x7f back\x08\r"),
        ("two\nlines\t", r"two\nlines\t"),
        ("rm \u202egpj.x\u202c\u2066\u2069\u200e", r"rm \u202egpj.x\u202c\u2066\u2069\u200e"),
        ("a\u2028b\u2029c\u200bd\ufeff", r"a\u2028b\u2029c\u200bd\ufeff"),
        ("wide\u00a0\u3000blanks", "wide\u00a0\u3000blanks"),
        ("name\udcff", r"name\xff"),  # a byte of a file name that is not UTF-8
        ("tag\U000e0041", r"tag\U000e0041"),
    ],
)
def test_what_has_no_picture_is_written_as_its_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()  # a surrogate could not be written to any terminal


def test_line_breaks_stay_where_they_are_wanted() -> None:
    assert printable("a\n\tb\x1b", keep="\n") == "a\n\\tb\\x1b"


def test_a_log_keeps_lines_and_tabs_and_loses_colours() -> None:
    assert printable_lines("\x1b[1;31merror\x1b[0m:\tno\nnext \x1b[2J") == "error:\tno\nnext \\x1b[2J"


def test_names_are_sorted_by_their_numbers_and_by_nothing_that_is_none():
    names = ["IMG_10²", "IMG_2", "IMG_10", "²", "IMG_٣"]
    assert sorted(names, key=natural_key) == ["IMG_2", "IMG_٣", "IMG_10", "IMG_10²", "²"]
    assert natural_key("a007") == natural_key("a7")
