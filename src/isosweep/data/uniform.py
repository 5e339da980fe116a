"""Random pixels, uniform over views and within each view."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from isosweep import ops

Places = tuple[Int[Tensor, " r"], Int[Tensor, " r"], Int[Tensor, " r"]]
"""View, row and column of each pixel."""


def uniform_pixels(
    hw: Int[Tensor, "v 2"],
    views: Sequence[int] | Int[Tensor, " n"],
    n: int,
    generator: torch.Generator,
    crop: float = 0.0,
) -> Places:
    """``n`` random pixels on the device of ``hw``: a random view for each, then a random pixel of that view.

    Args:
        hw: height and width of all views.
        views: the indices to draw from; as a tensor on the device of ``hw``.
        generator: on the device of ``hw``.
        crop: if above 0, only the central part of each image, of this share of its sides, is drawn from.
    """
    among = views if isinstance(views, Tensor) else on_device(tuple(views), hw.device)
    choice = torch.randint(len(among), (n,), generator=generator, device=hw.device)
    place = torch.rand(n, 2, generator=generator, device=hw.device)
    return ops.pixel_places(choice, place, among, hw, crop)


@lru_cache(maxsize=16)
def on_device(
    values: tuple[int, ...] | tuple[float, ...], device: torch.device
) -> Int[Tensor, " n"] | Float[Tensor, " n"]:
    """Values on a device; those of the step before are there already. Nothing may write to them."""
    with torch.inference_mode(False):  # what is made in it cannot take part in a gradient later
        return torch.tensor(values, device=device)
