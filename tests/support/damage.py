"""Files of runs and sweeps that went wrong, each in one way."""

from collections.abc import Callable

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "a flipped bit": lambda data: data[:1].translate(bytes(b ^ 1 for b in range(256))) + data[1:],
    "not UTF-8": lambda data: data.replace(b"a", b"\xff"),
    "not UTF-8 in what lists skip": lambda data: data.rstrip()[:-1] + b', "later": "\xff"}\n',
    "nested": lambda data: b"[" * 10_000 + b"]" * 10_000,
    "nested in a field": lambda data: data.rstrip()[:-1] + b', "later": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "a number too large": lambda data: b'{"number": 1e400, "pid": 1e400, "seed": 1e400, "jobs": 1e400}',
    "a list": lambda data: b"[]\n",
    "escapes": lambda data: b'{"status": "\\u001b]0;owned\\u0007", "jobs": "\\u001b[2J", "step": "\\u001b[2J"}',
}  # fmt: skip
"""Kind of damage -> what it makes of a file's bytes. Every reader refuses all of them."""
