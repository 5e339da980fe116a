"""How near to a camera its rays may meet something, by the points that it sees.

Axes: V views, P points. Lengths are in the unit of the poses that are given.
"""

import itertools

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.types import Sightings

SHARE = 0.5
"""Nothing is expected nearer than this share of the distance of the nearest points: many surfaces have no points."""
PERCENTILE = 1.0
"""Of the distances of a view's points, taken for the nearest: single points are wrong."""
FEW = 20
"""A view of fewer points takes the shortest distance of the others."""


def near_of(
    c2w: Float[np.ndarray, "v 3 4"], points: Float[Tensor, "p 3"] | None, sightings: Sightings | None
) -> Float[Tensor, " v"] | None:
    """The distance [V] from each camera before which its rays meet nothing; None where no view tells.

    Without it, a model builds clouds right before its cameras: each explains a part of one photograph, and no other
    photograph contradicts.
    """
    if points is None or sightings is None:
        return None
    xyz, point, offsets = points.numpy(), sightings.point.numpy(), sightings.offsets.tolist()
    near = np.full(len(c2w), np.nan)
    for view, (start, end) in enumerate(itertools.pairwise(offsets)):
        if end - start >= FEW:
            away = np.linalg.norm(xyz[point[start:end]] - c2w[view, :, 3], axis=1)
            near[view] = SHARE * np.percentile(away, PERCENTILE)
    if np.isnan(near).all():
        return None
    return torch.tensor(np.where(np.isnan(near), np.nanmin(near), near), dtype=torch.float32)
