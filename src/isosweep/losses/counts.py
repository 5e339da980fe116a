"""What a loss term may be the mean over, and how much of it a batch has.

Shapes: R rays.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isosweep.types import DISTANCE, Batch


def on_object(batch: Batch) -> Bool[Tensor, " r"]:
    """Whether each ray meets the object: the mask covers more than half of its pixel."""
    assert batch.mask is not None, "TotalLoss.check runs before training and names the missing field"
    return batch.mask > 0.5


def areas(batch: Batch) -> Float[Tensor, " r"]:
    """The weight of each ray by the area of its pixel, ``ray_extras['area']``; 1 where the batch does not have it."""
    known = batch.ray_extras.get("area")
    return torch.ones_like(batch.rgb[:, 0]) if known is None else known


def _number(n: int, batch: Batch) -> Tensor:
    return torch.tensor(n, device=batch.rgb.device)


OF_BATCH: Mapping[str, Callable[[Batch], Tensor]] = {
    "rays": lambda batch: _number(len(batch.rays), batch),
    "points": lambda batch: _number(0 if batch.points is None else len(batch.points), batch),
    "point rays": lambda batch: (batch.ray_extras[DISTANCE] > 0).sum(),
    "patches": lambda batch: batch.ray_extras["patch"].sum(),
    "pixel area": lambda batch: areas(batch).sum(),
    "masked rays": lambda batch: on_object(batch).sum(),
}
"""What is known before samples are chosen -> how much of it there is, []. 'point rays' lead to a known point, 'patches'
are the rays of ``ray_extras['patch']``, 'pixel area' weighs rays by ``areas``, 'masked rays' are ``on_object``."""
OVER = (*OF_BATCH, "samples", "hit rays")
"""All of them; rays with at least one sample are 'hit'."""
