"""How much of the training pixels a run has seen, and will have seen at its end."""

import logging
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

log = logging.getLogger("isosweep")

LITTLE = 0.5
"""A schedule that sees a smaller share of the pixels than this is worth a warning."""
TRIAL = 500
"""A schedule of fewer steps shows that the parts fit together, and nobody expects it to see the scene."""


class Coverage:
    """The share of the training pixels that were drawn at least once.

    Args:
        hw: height and width [V, 2] of all views.
        views: the indices of the training views.
        replacement: whether pixels are drawn independently, each view as often as any other; else every pixel comes
            once before any comes again.
    """

    def __init__(self, hw: Int[Tensor, "v 2"], views: Sequence[int], replacement: bool) -> None:
        self._sizes = hw.cpu().long()[list(views)].prod(-1).double()
        self._replacement = replacement
        self._told = False

    @property
    def pixels(self) -> int:
        """Of all training views."""
        return int(self._sizes.sum())

    def share(self, drawn: int) -> float:
        """The expected share, in [0, 1], that ``drawn`` draws have seen.

        With replacement a pixel of a view of n pixels, one of V views, is missed by all draws with probability
        (1 - 1 / (V n))^drawn.
        """
        if not self._replacement:
            return min(1.0, drawn / self.pixels)
        missed = torch.exp(drawn * torch.log1p(-1 / (len(self._sizes) * self._sizes).clamp_min(1 + 1e-9)))
        return float(1 - (self._sizes * missed).sum() / self._sizes.sum())

    def foretell(self, drawn: int, rays: int, step: int, max_steps: int) -> None:
        """Warn once if the schedule will have seen less than half of the pixels at its end.

        Args:
            drawn: pixels so far.
            rays: of the next batch, taken for those of all that follow.
        """
        if self._told or max_steps < TRIAL:
            return
        self._told = True
        share = self.share(drawn + rays * (max_steps - step))
        if share < LITTLE:
            log.warning(
                "with %d rays a step, %d steps will see about %.0f %% of the %.1f million training pixels: raise "
                "train.target_samples, train.min_rays or train.max_steps, or train on smaller images "
                "(dataset.downscale)",
                rays, max_steps, 100 * share, self.pixels / 1e6,
            )  # fmt: skip
