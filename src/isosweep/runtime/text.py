"""Text of other people's making, made safe to print: names of files and runs, messages in records, logs of runs.

A terminal obeys what it is sent. A name with an escape sequence in it may clear the screen, set the window's title, or
with a bidirectional override show another command than the one that is copied.
"""

import re
import unicodedata

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


def printable(text: str, keep: str = "") -> str:
    r"""The text with every character that has no picture written as its escape: ESC becomes ``\x1b``.

    These are control characters (C0, DEL, C1), format characters (bidirectional overrides, zero widths), line and
    paragraph separators, and the halves of characters that stand for bytes of a file name which are not UTF-8. Blanks
    of other widths stay.

    Args:
        keep: characters that stay although they are such, like line breaks.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep or _is_blank(c) else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """The text with its line breaks and tabs, without colours, and every other control character as its escape."""
    return printable(_COLOURS.sub("", text), keep="\n\t")


def natural_key(name: str) -> list[tuple[int, str]]:
    """A key that sorts names by the numbers in them: 2 comes before 10, with or without zeros.

    A number is what ``int`` reads, so that the exponent of ``IMG_10²`` is a sign like any other.
    """
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]


def _is_blank(character: str) -> bool:
    return unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
