"""Spoils a file by a seed: flips, cuts, splices, extreme numbers; json, archives and png also by their structure."""

import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence

from tests.support.damage import DAMAGE
from tests.support.mutated import edit_json

EXTREMES = (
    b"\x00" * 8, b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\x7f" + b"\xff" * 7, b"\x00" * 7 + b"\x80",
    b"\x01" + b"\x00" * 7,
    b"\x00" * 7 + b"\x01", struct.pack("<d", float("nan")), struct.pack("<d", float("inf")), struct.pack("<d", -1e300),
    struct.pack("<f", float("nan")) * 2, struct.pack(">d", float("inf")), struct.pack("<q", 1 << 40),
    struct.pack("<i", 1 << 28) * 2, struct.pack(">i", 60_000) * 2,
)  # fmt: skip
NUMBERS = (
    "0", "-0", "-1", "1", "2", "1e400", "-1e400", "nan", "inf", "NaN", "-Infinity", "1e308", "1e-320", "9" * 400,
    "9" * 5000, "2147483648", "-2147483649", "18446744073709551616", "4294967295", "1000000", "0x10", "1_0", "²", "٣",
    "10²", "", '"abc"', "null", "true", "[]", "{}", "1.5", "1e3", "+3", "1 2", "1,5",
)  # fmt: skip
WORDS = (
    b"\xe9", b"\xed\xa0\x80", b"\\ud800", b"\x00", b"/", b"../../../..", b"\x1b[2J", b" ", b"\n", b"a" * 5000, b"",
    b"\xff\xfe", b"/dev/null", b"~", b"%s%n", b"C:\\x", b"\xe2\x80\xae",
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
_WORD = re.compile(rb"[A-Za-z_]{2,}")

Change = Callable[[bytes, random.Random], bytes]


def spoiled(name: str, data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """The bytes of the file ``name`` with one change; ``others`` are files that a piece may come from."""
    return rng.choice(changes_of(name, data, others))(data, rng)


def changes_of(name: str, data: bytes, others: Sequence[bytes] = ()) -> list[Change]:
    """The kinds of changes that fit a file, by its ending and content; the likelier ones several times."""
    ending = name.rpartition(".")[2].lower()
    plain: list[Change] = [_flip, _cut, _remove, _insert, _double, _extreme, _extreme, _damaged, _filled]
    if others:
        plain.append(lambda data, rng: _splice(data, rng.choice(others), rng))
    if ending in ("json", "jsonl"):
        edit = _json_lines if ending == "jsonl" else _json
        return [*plain, *[edit] * 14, *[_number] * 6, _word, _word, _line, _line]
    if data[:4] == b"PK\x03\x04":
        return [*plain[:4], *[_member] * 12, _extreme]
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return [*plain, *[_chunk] * 12]
    if b"\0" not in data[:2000] and ending not in ("jpg", "webp", "stl"):
        return [*plain, *[_number] * 12, *[_word] * 3, *[_line] * 6]
    return [*plain, *[_extreme] * 6, *[_head] * 4, _number, _word]


def _at(data: bytes, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1)


def _flip(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if made:
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def _head(data: bytes, rng: random.Random) -> bytes:
    """The beginning of a file says what follows."""
    made = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        if made:
            made[rng.randrange(min(len(made), 64))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(made)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: _at(data, rng)]


def _remove(data: bytes, rng: random.Random) -> bytes:
    at = _at(data, rng)
    return data[:at] + data[at + rng.randrange(1, 33) :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _at(data, rng)
    return data[:at] + rng.randbytes(rng.randrange(1, 40)) + data[at:]


def _double(data: bytes, rng: random.Random) -> bytes:
    start, end = sorted((_at(data, rng), _at(data, rng)))
    return data[:end] + data[start:end] * rng.choice((1, 1, 3)) + data[end:]


def _filled(data: bytes, rng: random.Random) -> bytes:
    at, n = _at(data, rng), rng.choice((4, 16, 64, 4096))
    return (
        data[:at]
        + rng.choice((b"\0", b"\xff", b" ", b"[", b"9"))[:1] * len(data[at : at + n])
        + data[at + n :]
    )


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = sorted((_at(other, rng), _at(other, rng)))
    at = _at(data, rng)
    return data[:at] + other[start:end] + data[at + rng.choice((0, end - start)) :]


def _extreme(data: bytes, rng: random.Random) -> bytes:
    """One, two, four or eight bytes become a number that is hard to bear."""
    n = rng.choice((1, 2, 4, 4, 8, 8))
    at = _at(data, rng) if rng.random() < 0.5 else n * rng.randrange(len(data) // n + 1)
    return data[:at] + rng.choice(EXTREMES)[:n] + data[at + n :]


def _damaged(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(list(DAMAGE.values()))(data)


def _number(data: bytes, rng: random.Random) -> bytes:
    """A number of a text becomes another, or none."""
    found = list(_NUMBER.finditer(data))
    if not found:
        return _insert(data, rng)
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(NUMBERS).encode() + data[one.end() :]


def _word(data: bytes, rng: random.Random) -> bytes:
    found = list(_WORD.finditer(data))
    if not found:
        return _insert(data, rng)
    one = rng.choice(found)
    at = rng.choice((one.start(), one.end()))
    return data[: rng.choice((one.start(), at))] + rng.choice(WORDS) + data[at:]


def _line(data: bytes, rng: random.Random) -> bytes:
    """A line is gone, twice there, in another place, or without one of its words."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines[at:at] = [lines[at]] * rng.choice((1, 1, 50))
    elif kind == 2:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    else:
        words = lines[at].split(b" ")
        del words[rng.randrange(len(words))]
        lines[at] = b" ".join(words)
    return b"\n".join(lines)


def _json(data: bytes, rng: random.Random) -> bytes:
    return edit_json(data.decode(errors="replace"), rng).encode(errors="surrogatepass")


def _json_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = _json(lines[at], rng)
    return b"\n".join(lines)


def _member(data: bytes, rng: random.Random) -> bytes:
    """A member of an archive has other content, with a checksum that is right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(one, archive.read(one)) for one in archive.infolist()]
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return _flip(data, rng)  # an earlier change has made it unreadable
    if not members:
        return _insert(data, rng)
    at = rng.randrange(len(members))
    kind = rng.randrange(8)
    one, content = members[at]
    if kind == 0:
        del members[at]
    elif kind == 1:
        one.filename = rng.choice(("../x.npy", "/", "x", one.filename + ".npy", "a" * 300))
    else:
        members[at] = (one, spoiled(one.filename, content, rng, [other for _, other in members]))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for member, content in members:
            # with a time of its own, the same seed would make other bytes
            archive.writestr(zipfile.ZipInfo(member.filename), content, member.compress_type)
    return out.getvalue()


def _chunk(data: bytes, rng: random.Random) -> bytes:
    """A chunk of a png has other content, with a checksum that is right; or there is one more."""
    chunks, at = [], 8
    while at + 8 <= len(data) and (size := int.from_bytes(data[at : at + 4], "big")) <= len(data):
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return _flip(data, rng)
    at = rng.randrange(len(chunks))
    kind, body = chunks[at]
    if rng.random() < 0.2:
        kinds = (b"eXIf", b"iCCP", b"tEXt", b"zTXt", b"tRNS", b"PLTE", b"IDAT", b"IEND", b"acTL")
        chunks.insert(
            at,
            (rng.choice(kinds), rng.choice((b"", rng.randbytes(20), b"MM\0*\0\0\0\x08" + rng.randbytes(14)))),
        )
    else:
        chunks[at] = (kind, rng.choice((_flip, _extreme, _head, _cut, _insert))(body, rng))
    return data[:8] + b"".join(_whole(*chunk) for chunk in chunks)


def _whole(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
