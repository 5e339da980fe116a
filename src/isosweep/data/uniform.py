"""Random pixels, uniform over views and within each view."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

Places = tuple[Int[Tensor, " r"], Int[Tensor, " r"], Int[Tensor, " r"]]
"""View, row and column of each pixel."""


def uniform_pixels(
    hw: Int[Tensor, "v 2"], views: Sequence[int], n: int, generator: torch.Generator, crop: float = 0.0
) -> Places:
    """``n`` random pixels on the device of ``hw``: a random view for each, then a random pixel of that view.

    Args:
        hw: height and width of all views.
        views: the indices to draw from.
        generator: on the device of ``hw``.
        crop: if above 0, only the central part of each image, of this share of its sides, is drawn from.
    """
    among = torch.tensor(views, device=hw.device)
    view = among[torch.randint(len(among), (n,), generator=generator, device=hw.device)]
    size = hw[view]
    place = torch.rand(n, 2, generator=generator, device=hw.device)
    if crop > 0:
        place = 0.5 + (place - 0.5) * crop
    row, col = torch.minimum((place * size).long(), size - 1).unbind(-1)
    return view, row, col
