r"""Text of other people's making, made safe to write and to print: names of files, messages in records, logs of runs.

A terminal obeys what it is sent. A name with an escape sequence in it may clear the screen, set the window's title, or
with a bidirectional override show another command than the one that is copied.

A name of a file is bytes, and they need not be UTF-8. Python reads each byte that is not as one half of a surrogate
pair, which no file, page or terminal takes; a json may hold such halves, too. `name_as_text` is the one way in which
such a name becomes text: the byte E9 is written ``\xe9``, any other half ``\ud800``. `name_of_text` reads it back.
"""

import contextlib
import io
import re
import sys
import unicodedata

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_HALVES = re.compile(r"[\ud800-\udfff]")
_LIKE_AN_ESCAPE = re.compile(r"\\(?=x5c|x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2})")
"""A backslash of the name itself that would be read back as an escape."""
_ESCAPE = re.compile(r"\\x5c|\\x([89a-f][0-9a-f])|\\u(d[89a-f][0-9a-f]{2})")


def name_as_text(name: str) -> str:
    r"""A name of a file as text that every record, log and page can hold; the usual name is left as it is.

    A byte that is not UTF-8 becomes ``\xe9``, any other half of a surrogate pair ``\ud800``, and a backslash before
    what looks like one of these ``\x5c``: two names never become one text.
    """
    return as_text(_LIKE_AN_ESCAPE.sub(r"\\x5c", name))


def name_of_text(text: str) -> str:
    """The name that `name_as_text` has made this text of."""

    def read(found: re.Match[str]) -> str:
        if found[1]:
            return chr(0xDC00 + int(found[1], 16))
        return chr(int(found[2], 16)) if found[2] else "\\"

    return _ESCAPE.sub(read, text)


def as_text(text: str) -> str:
    """Text that may have names in it, such as a message: halves of surrogate pairs as `name_as_text` writes them."""
    return _HALVES.sub(_half, text)


def forgiving_output() -> None:
    """Have stdout and stderr print a character that their encoding lacks as its escape.

    Under LC_ALL=C or PYTHONIOENCODING=ascii, a name or an arrow would end the program otherwise.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError, OSError):  # a stream that is closed prints nothing
                stream.reconfigure(errors="backslashreplace")


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
    text = as_text(text)
    return "".join(c if c.isprintable() or c in keep or _is_blank(c) else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """The text with its line breaks and tabs, without colours, and every other control character as its escape."""
    return printable(_COLOURS.sub("", text), keep="\n\t")


def natural_key(name: str) -> list[tuple[int, str]]:
    """A key that sorts names by the numbers in them: 2 comes before 10, with or without zeros.

    A number is what ``int`` reads, so that the exponent of ``IMG_10²`` is a sign like any other.
    """
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]


def _half(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _is_blank(character: str) -> bool:
    return unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
