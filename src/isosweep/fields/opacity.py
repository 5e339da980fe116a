"""The opacity of a section in which a signed distance falls."""

import torch
from jaxtyping import Float
from torch import Tensor


def crossing_opacity(
    before: Float[Tensor, "*s"], after: Float[Tensor, "*s"], sharpness: Float[Tensor, ""] | float
) -> Float[Tensor, "*s"]:
    """clip((S(s before) - S(s after) + 1e-5) / (S(s before) + 1e-5), 0, 1), S the logistic function.

    NeuS, equation 13, with the constants of its code: ``before`` and ``after`` are the distances at
    the ends of the section.
    """
    enter, leave = torch.sigmoid(before * sharpness), torch.sigmoid(after * sharpness)
    return ((enter - leave + 1e-5) / (enter + 1e-5)).clamp(0.0, 1.0)
