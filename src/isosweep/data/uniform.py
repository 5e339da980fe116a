"""Pixels drawn uniformly over views and within each view."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

Places = tuple[Int[Tensor, " r"], Int[Tensor, " r"], Int[Tensor, " r"]]
"""View, row, column."""


def uniform_pixels(
    hw: Int[Tensor, "v 2"], views: Sequence[int], n: int, generator: torch.Generator, crop: float = 0.0
) -> Places:
    """``n`` pixels of ``views``, on the device of ``hw``.

    Args:
        crop: side of the central part of the image that is drawn from; 0 for all of it.
    """
    among = torch.tensor(views, device=hw.device)
    view = among[torch.randint(len(among), (n,), generator=generator, device=hw.device)]
    size = hw[view]
    place = torch.rand(n, 2, generator=generator, device=hw.device)
    if crop > 0:
        place = 0.5 + (place - 0.5) * crop
    row, col = torch.minimum((place * size).long(), size - 1).unbind(-1)
    return view, row, col
