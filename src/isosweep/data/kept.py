"""Training pixels where masks say that some are to be ignored: these are drawn again until none is left.

So every kept pixel is as likely as it was among all of them, and views with fewer kept pixels have fewer rays.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from isosweep.data.image_store import SPARE, ImageStore
from isosweep.data.uniform import Places

ROUNDS = 16
"""How often ignored pixels are drawn again. With half of the pixels ignored one in 131,072 is left after that; it is
replaced by one of `SPARE` known pixels of its view. A fixed number, since a card is not waited for."""


def kept_places(
    images: ImageStore, places: Places, again: Callable[[], Places], generator: torch.Generator
) -> Places:
    """The places, with others for those that are to be ignored.

    Args:
        places: view, row and column of each pixel; each view has kept pixels.
        again: draws as many places from the same views.
        generator: on the device of the places.
    """
    view, row, col = places
    for _ in range(ROUNDS):
        bad = ~images.kept(view, row, col)
        if bad.device.type == "cpu" and not bool(bad.any()):
            return view, row, col
        view, row, col = (
            torch.where(bad, new, old) for new, old in zip(again(), (view, row, col), strict=True)
        )
    bad = ~images.kept(view, row, col)
    return view, *spare_places(images, view, row, col, bad, generator)


def spare_places(
    images: ImageStore,
    view: Int[Tensor, " r"],
    row: Int[Tensor, " r"],
    col: Int[Tensor, " r"],
    bad: Bool[Tensor, " r"],
    generator: torch.Generator,
) -> tuple[Int[Tensor, " r"], Int[Tensor, " r"]]:
    """Row and column, at ``bad`` those of a random known kept pixel of the same view."""
    chosen = torch.randint(SPARE, (len(view),), generator=generator, device=view.device)
    known = images.spare.to(view.device)[view, chosen]
    return torch.where(bad, known[:, 0], row), torch.where(bad, known[:, 1], col)
