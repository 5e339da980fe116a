"""Where somebody looks from: the camera and the size of one window.

Frames: the window's camera is in the normalised units of the first model that is shown.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from isosweep.types import Cameras


@dataclass(frozen=True, eq=False)
class Look:
    """The camera of one window."""

    c2w: Float[np.ndarray, "3 4"]
    """OpenCV camera-to-world."""
    fov: float
    """Of the window's height, in radians."""
    hw: tuple[int, int]
    """Height and width of the window in pixels."""

    def same(self, other: "Look | None") -> bool:
        """Whether both show the same."""
        return (
            other is not None
            and (self.fov, self.hw) == (other.fov, other.hw)
            and bool(np.array_equal(self.c2w, other.c2w))
        )


def column(look: Look, count: int) -> Look:
    """The part of a window that each of ``count`` models gets, side by side: all of its height."""
    height, width = look.hw
    return replace(look, hw=(height, max(1, width // count)))


def moved(look: Look, matrix: Float[np.ndarray, "4 4"]) -> Look:
    """The look in another frame, to which a similarity [4, 4] leads. The axes of the camera keep their length."""
    linear, shift = matrix[:3, :3], matrix[:3, 3]
    turn = linear / abs(float(np.linalg.det(linear))) ** (1 / 3)
    eye = linear @ look.c2w[:, 3] + shift
    return replace(look, c2w=np.concatenate([turn @ look.c2w[:, :3], eye[:, None]], 1))


def size(hw: tuple[int, int], longer: int) -> tuple[int, int]:
    """Height and width of the picture of a window whose longer side has ``longer`` pixels."""
    scale = longer / max(hw)
    return max(1, round(hw[0] * scale)), max(1, round(hw[1] * scale))


def camera(look: Look, longer: int, like: Cameras) -> Cameras:
    """The one camera of a picture whose longer side has ``longer`` pixels.

    f = (h / 2) / tan(fov / 2) for the height, and for the width the focal length that shows all of the window.

    Args:
        like: the scene's cameras. The new one has their normalised device coordinates, and the nearest of their near
            distances: between the photographs nothing tells where the nearest thing is.
    """
    h, w = size(look.hw, longer)
    half = math.tan(look.fov / 2)
    fy = h / 2 / half
    fx = w / 2 / (half * look.hw[1] / look.hw[0])
    near = None if like.near is None else like.near.min().cpu().expand(1)
    return Cameras(
        torch.tensor(look.c2w, dtype=torch.float32)[None],
        torch.tensor([[[fx, 0.0, w / 2], [0.0, fy, h / 2], [0.0, 0.0, 1.0]]]),
        torch.tensor([[h, w]]),
        0.5,
        like.ndc,
        near,
    )
