"""Networks that have died: a relu density that is 0 wherever rays go, so that no gradient ever changes it again."""

import logging

log = logging.getLogger("isosweep")

IN_A_ROW = 2
"""Logged steps without a ray that meets anything before the warning: one alone may be a photograph of nothing."""


class Deaths:
    """Warns once when no ray of several logged steps in a row met anything.

    The official NeRF is known for it: on images that are mostly background the quickest way to a lower loss is no
    density at all, and the relu passes nothing back from there. Its remedy is to begin with the middle of the images.

    Args:
        remedy: what to do; None for a model that recovers by itself, of which nothing is said.
    """

    def __init__(self, remedy: str | None) -> None:
        self._remedy, self._row = remedy, 0

    def note(self, step: int, empty: float) -> None:
        """Take the share of rays in which a network sees nothing, of a logged step.

        Args:
            step: steps done.
            empty: in [0, 1].
        """
        self._row = self._row + 1 if empty >= 1 - 1e-6 else 0
        if self._row == IN_A_ROW and self._remedy is not None:
            log.warning(
                "step %d: every ray is dead: the density of a network is exactly 0 along all of them, and its relu "
                "passes no gradient, so it will not learn any more. Stop, and %s",
                step, self._remedy,
            )  # fmt: skip
