"""Which pairs of images are matched."""

EXHAUSTIVE = 250
"""Photographs up to which every pair is matched: 31,125 pairs."""
FEW = 60
"""Frames of a video up to which every pair is matched."""
OVERLAP = 10
LOOPS = 30
"""Of a long sequence this many images, evenly spaced, are matched with each other to close loops."""


def method(matching: str, n: int, video: bool) -> tuple[str, str]:
    """'exhaustive' or 'sequential', and why."""
    if matching != "auto":
        return matching, "as asked for"
    limit = FEW if video else EXHAUSTIVE
    kind = "frames of a video" if video else "photographs"
    if n <= limit:
        return "exhaustive", f"{n} {kind}, {limit} at most"
    return (
        "sequential",
        f"{n} {kind}, above {limit}: neighbours by name, and {LOOPS} spaced ones with each other",
    )


def pairs(how: str, n: int) -> list[tuple[int, int]]:
    """Pairs i < j of n images.

    Sequential: each with the next 10, with those 16, 32, 64 ... further on, and about 30 evenly spaced
    images all with each other, which find the place where a walk around an object closes.
    """
    if how == "exhaustive":
        return [(i, j) for i in range(n) for j in range(i + 1, n)]
    steps = [*range(1, OVERLAP + 1)]
    far = 16
    while far < n // 2:
        steps.append(far)
        far *= 2
    found = {(i, i + s) for i in range(n) for s in steps if i + s < n}
    spaced = sorted({round(k * (n - 1) / (LOOPS - 1)) for k in range(LOOPS)})
    found |= {(a, b) for k, a in enumerate(spaced) for b in spaced[k + 1 :]}
    return sorted(found)
