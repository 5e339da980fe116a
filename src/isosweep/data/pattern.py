"""The picture that needs no file: smooth colour, a hard edge, and stripes that grow finer from left to right."""

import numpy as np
from jaxtyping import Float, UInt8

SIZE = 256
"""Height and width of the picture, pixels."""
_FINER = 4
"""Points a side that a pixel is the mean of."""


def pattern(size: int = SIZE) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, RGB.

    Its parts tell encodings apart. Few waves suffice for the ground. The stripes' period falls from 128 to 6 pixels (of
    256), so they show where an encoding's finest wave or cell is reached. The disc's edge has all frequencies at once.
    """
    fine = (np.arange(_FINER * size) + 0.5) / (_FINER * size)
    x, y = np.meshgrid(fine, fine)
    boxes = _color(x, y).reshape(size, _FINER, size, _FINER, 3)
    return np.rint(255 * boxes.mean((1, 3))).astype(np.uint8)


def _color(x: Float[np.ndarray, "*p"], y: Float[np.ndarray, "*p"]) -> Float[np.ndarray, "*p 3"]:
    """The colour in [0, 1] at points of the unit square, x to the right and y down."""
    ground = np.stack([0.25 + 0.6 * x, 0.35 + 0.3 * np.sin(5 * y), 0.8 - 0.5 * y], -1)
    # a chirp: 2 to 42 periods a side
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * (2 * x + 20 * x**2))
    stripes = np.stack([0.1 + 0.8 * wave, 0.15 + 0.7 * wave, 0.3 + 0.2 * wave], -1)
    out = np.where((y > 0.6)[..., None], stripes, ground)
    disc = (x - 0.35) ** 2 + (y - 0.35) ** 2 < 0.22**2
    hole = (x - 0.42) ** 2 + (y - 0.30) ** 2 < 0.07**2
    return np.where((disc & ~hole)[..., None], np.array([0.95, 0.75, 0.15]), out)
