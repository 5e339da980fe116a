"""How deeply the lists and mappings of a JSON text lie in each other, found without reading it.

Everything that walks through the values calls itself at each level, and Python ends with a RecursionError.
"""

import re

MOST_NESTED = 150
"""Levels; the walkers of values call themselves up to twice a level."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_FLAT = re.compile(rb"\[\]|\{\}")


def nested_too_deeply(data: bytes, most: int = MOST_NESTED) -> bool:
    """Whether there are more than ``most`` levels.

    Pairs of brackets with nothing between them are taken out, level by level, which is a hundred times as fast as
    counting them one by one where a file has millions of matrices.
    """
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    for _ in range(most):
        if not brackets:
            return False
        brackets, flat = _FLAT.subn(b"", brackets)
        if not flat:
            # it does not close: the parser goes as deep as it opens, and says where
            return _deepest(brackets) > most
    return bool(brackets)


def _deepest(brackets: bytes) -> int:
    """How deeply brackets lie in each other before they close."""
    level = deepest = 0
    for bracket in brackets:
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return deepest
