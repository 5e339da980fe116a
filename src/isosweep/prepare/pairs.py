"""Which pairs of images are matched."""

MOST_PHOTOS = 250
"""Up to this number of photographs every pair is matched (31,125 pairs)."""
MOST_FRAMES = 60
"""Up to this number of video frames every pair is matched."""
NEIGHBOURS = 10
"""In a longer sequence each image is matched with this many of its successors."""
SPACED = 30
"""In a longer sequence this many evenly spaced images are matched with each other, to close loops."""


def choose_method(matching: str, n: int, video: bool) -> tuple[str, str]:
    """Resolve the option ``--matching`` for ``n`` images.

    Returns:
        'exhaustive' or 'sequential', and the reason in words.
    """
    if matching != "auto":
        return matching, "as given"
    limit = MOST_FRAMES if video else MOST_PHOTOS
    kind = "frames of a video" if video else "photographs"
    if n <= limit:
        return "exhaustive", f"{n} {kind}, at most {limit}"
    return (
        "sequential",
        f"{n} {kind}, more than {limit}: each with its neighbours by name, and {SPACED} spaced images with each other",
    )


def list_pairs(method: str, n: int) -> list[tuple[int, int]]:
    """The pairs (i, j), i < j < n, of ``n`` images in the order of their names.

    'exhaustive' gives all n (n - 1) / 2 pairs. 'sequential' pairs each image with the next 10, and with
    those 16, 32, 64 ... places further on. It also pairs about 30 evenly spaced images with each other:
    they find the place where a walk around an object closes.
    """
    if method == "exhaustive":
        return [(i, j) for i in range(n) for j in range(i + 1, n)]
    steps = [*range(1, NEIGHBOURS + 1)]
    far = 16
    while far < n // 2:
        steps.append(far)
        far *= 2
    found = {(i, i + s) for i in range(n) for s in steps if i + s < n}
    spaced = sorted({round(k * (n - 1) / (SPACED - 1)) for k in range(SPACED)})
    found |= {(a, b) for k, a in enumerate(spaced) for b in spaced[k + 1 :]}
    return sorted(found)
