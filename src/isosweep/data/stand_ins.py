"""Which training view a view is like, for models that keep a code of appearance for each training view."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from isosweep.types import Scene


def with_stand_ins(scene: Scene) -> Scene:
    """The scene, whose cameras hand out rays of the training view that each view is most like (``Rays.view``)."""
    found = stand_ins(scene.cameras.c2w, torch.tensor(scene.splits["train"], device=scene.cameras.c2w.device))
    return replace(scene, cameras=replace(scene.cameras, stand_in=found))


def stand_ins(c2w: Float[Tensor, "v 3 4"], train: Int[Tensor, " t"]) -> Int[Tensor, " v"]:
    """For each view the training view with the least distance; a training view has itself.

    The distance of two cameras is |c - c'| / s + angle, with the root mean square s of the training cameras' distances
    to their middle, and the angle in radians between their optical axes. No pixel of a view is looked at.
    """
    centre, axis = c2w[:, :, 3], torch.nn.functional.normalize(c2w[:, :, 2], dim=-1)
    spread = (centre[train] - centre[train].mean(0)).square().sum(-1).mean().sqrt().clamp_min(1e-6)
    apart = (centre[:, None] - centre[train]).norm(dim=-1) / spread
    angle = (axis @ axis[train].T).clamp(-1, 1).acos()
    found = train[(apart + angle).argmin(-1)]
    found[train] = train
    return found
