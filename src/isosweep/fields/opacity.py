"""NeuS' opacity of a section of a ray, from the signed distances at its two ends."""

import torch
from jaxtyping import Float
from torch import Tensor


def crossing_opacity(
    before: Float[Tensor, "*s"], after: Float[Tensor, "*s"], sharpness: Float[Tensor, ""] | float
) -> Float[Tensor, "*s"]:
    """alpha = clip((S(s f_0) - S(s f_1) + 1e-5) / (S(s f_0) + 1e-5), 0, 1), with S the logistic function.

    Source: NeuS (Wang et al. 2021), equation 13, with the constants of its code.

    Args:
        before, after: signed distances f_0 and f_1 at the near and the far end of each section, normalised scene units.
        sharpness: s > 0, in 1 / (normalised scene unit); NeuS writes 1 / s for the width of the surface.

    Returns: the opacity of each section in [0, 1], in the shape of ``before``.
    """
    enter, leave = torch.sigmoid(before * sharpness), torch.sigmoid(after * sharpness)
    return ((enter - leave + 1e-5) / (enter + 1e-5)).clamp(0.0, 1.0)
