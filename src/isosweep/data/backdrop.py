"""The background colour: masked pixels are composited over it, and rays that meet nothing end on it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.data.image_store import ImageStore
from isosweep.data.uniform import uniform_pixels
from isosweep.types import Images

COLORS = {"white": 1.0, "black": 0.0}
N_PIXELS = 65536
"""Pixels that the mean colour is taken over, drawn with a fixed seed."""


def backdrop(
    choice: str, behind_masks: str, composite: bool, images: Images, views: Sequence[int]
) -> Float[Tensor, "3"]:
    """The background colour of a scene, RGB in [0, 1].

    No single colour is right behind a whole photograph, so 'auto' takes the mean colour of its views: rays
    that meet no surface then need the least opacity. On black, a NeuS without a background model fills its box
    to reproduce a bright table and ends without a surface (docs/architecture.md).

    Args:
        choice: 'white', 'black' or 'auto', see `isosweep.data.loading.ViewOptions`.
        behind_masks: the colour, 'white' or 'black', that 'auto' means where images are composited.
        composite: whether images are composited over the background.
        views: indices of the training views, which the mean colour is taken over.
    """
    if choice == "auto" and not composite:
        return _mean_color(images, views)
    return torch.full((3,), COLORS[behind_masks if choice == "auto" else choice])


def _mean_color(images: Images, views: Sequence[int]) -> Float[Tensor, "3"]:
    generator = torch.Generator().manual_seed(0)
    places = uniform_pixels(images.hw, views, N_PIXELS, generator)
    colors = images.gather(*places)[0]
    if isinstance(images, ImageStore) and images.ignores:
        kept = images.kept(*places)
        colors = colors[kept] if bool(kept.any()) else colors
    return colors.mean(0)
