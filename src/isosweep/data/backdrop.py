"""The colour behind everything: what masked pixels are composited on, and rays that meet nothing."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.data.uniform import uniform_pixels
from isosweep.types import Images

COLORS = {"white": 1.0, "black": 0.0}
CHOICES = ("auto", *COLORS)
N_PIXELS = 65536


def check_background(choice: str) -> None:
    """Raise ValueError for a backdrop that is none of `CHOICES`."""
    if choice not in CHOICES:
        raise ValueError(f"dataset.background is one of {', '.join(CHOICES)}, found {choice!r}")


def backdrop(
    choice: str, plain: str, composite: bool, images: Images, views: Sequence[int]
) -> Float[Tensor, "3"]:
    """A named colour, or for 'auto' ``plain`` behind masks and the views' mean colour behind photographs.

    No colour is right behind a whole photograph. The mean asks the least opacity of rays that meet no
    surface: on black, a NeuS without a background model fills its box to reproduce a bright table and
    ends without a surface (docs/architecture.md). It is taken over 65,536 pixels drawn with a fixed seed.
    """
    if choice == "auto" and not composite:
        return _mean_color(images, views)
    return torch.full((3,), COLORS[plain if choice == "auto" else choice])


def _mean_color(images: Images, views: Sequence[int]) -> Float[Tensor, "3"]:
    generator = torch.Generator().manual_seed(0)
    return images.gather(*uniform_pixels(images.hw, views, N_PIXELS, generator))[0].mean(0)
