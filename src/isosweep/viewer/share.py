"""How much time looking may take from training, and how large the first picture of a moving camera may be."""

from collections.abc import Sequence

RUNGS = (48, 96, 192, 384, 768, 1536)
"""Pixels along the longer side of the pictures of one window, one after another."""
MOVING_S = 0.1
"""Seconds that the first picture after a movement may take."""
MOST_SAVED_S = 1.0
"""Seconds that may be saved up while there is nothing to draw."""


class Share:
    """The time that looking may take: at most ``share`` of all time while somebody looks.

    After T seconds of training, V <= share / (1 - share) T seconds are for looking, so V / (V + T) <= share. What is
    begun is finished, so V may be larger by one piece of a picture or by one mesh, which is paid back before the next.
    """

    def __init__(self, share: float) -> None:
        self._rate = share / (1 - share)
        self._left = 0.0

    def trained(self, seconds: float) -> None:
        """Note the time of a step."""
        self._left = min(self._left + self._rate * seconds, MOST_SAVED_S)

    def looked(self, seconds: float) -> None:
        """Note the time that was taken."""
        self._left -= seconds

    def nobody(self) -> None:
        """Forget what was saved up: nobody looks. What was taken too much stays."""
        self._left = min(self._left, 0.0)

    @property
    def may(self) -> bool:
        """Whether a piece may be drawn now."""
        return self._left > 0


def ladder(longest: int) -> tuple[int, ...]:
    """The longer sides of the pictures that a resting camera gets: the ``RUNGS`` below ``longest``, and ``longest``."""
    return (*(side for side in RUNGS if side < longest), longest)


def first_rung(pixels: Sequence[int], seconds_per_pixel: float) -> int:
    """The place of the largest picture that takes at most ``MOVING_S``; the first, if none does or nothing is known.

    Args:
        pixels: of the pictures, from the smallest to the largest.
        seconds_per_pixel: as measured; 0 if nothing is known.
    """
    if seconds_per_pixel == 0:
        return 0
    fits = [place for place, count in enumerate(pixels) if count * seconds_per_pixel <= MOVING_S]
    return max(fits, default=0)
