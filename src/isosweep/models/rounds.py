"""What models that render a coarse and a fine round of samples have in common."""

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.types import Level, Randomness, Rays, Samples

COARSE = "coarse"
"""The name of the level that the first round becomes."""


def density_noise(std: float, samples: Samples, generator: Randomness | None) -> Float[Tensor, " s"] | None:
    """Normal noise of the raw density of each sample, in training (NeRF, Mildenhall et al. 2020, appendix A).

    None where ``std`` is 0, or in evaluation, which has no generator.
    """
    if std <= 0 or generator is None:
        return None
    # it is drawn for each sample, so that a batch in parts has other noise than in one piece
    source = generator if isinstance(generator, torch.Generator) else generator.generator
    t = samples.t
    return std * torch.randn(len(samples), generator=source, device=t.device, dtype=t.dtype)


def over_background(level: Level, rays: Rays, behind: dict[str, Level]) -> Level:
    """A level's colour over the rays' background, or over the learned one, which the fine round has sampled."""
    assert level.rgb is not None
    assert level.opacity is not None
    learned = behind["background"].rgb if behind else None
    back = rays.background if learned is None else learned
    rgb = level.rgb + (1 - level.opacity)[:, None] * back
    return Level(level.samples, level.weights, rgb, level.opacity, level.depth)
