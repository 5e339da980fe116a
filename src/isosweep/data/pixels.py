"""Training batches: random pixels of the training views as rays and colours."""

import torch
from torch import Tensor

from isosweep.data.backdrop import COLORS
from isosweep.geometry import pixel_rays
from isosweep.types import Batch, Scene


def draw(
    scene: Scene, n: int, background: str, crop: float, generator: torch.Generator, device: torch.device
) -> Batch:
    """``n`` pixels, uniform over views and within each view.

    Args:
        scene: with cameras on ``device``.
        background: 'random' (one colour a ray, only where training may see the masks, else the
            scene's own), 'white', 'black' or 'dataset' (the colour that scores are taken on).
        crop: side of the central part of the image that is drawn from; 0 for all of it.
    """
    train = torch.tensor(scene.splits["train"], device=device)
    view = train[torch.randint(len(train), (n,), generator=generator, device=device)]
    hw = scene.cameras.hw[view]
    place = torch.rand(n, 2, generator=generator, device=device)
    if crop > 0:
        place = 0.5 + (place - 0.5) * crop
    pixel = torch.minimum((place * hw).long(), hw - 1)
    row, col = pixel[:, 0], pixel[:, 1]
    behind = _behind(scene, n, background, generator, device)
    rgb, mask = scene.images.gather(view, row, col)
    if scene.composite and mask is not None:
        rgb = rgb * mask[:, None] + behind * (1 - mask[:, None])
    rays = pixel_rays(scene.cameras, view, row, col, behind)
    return Batch(rays=rays, rgb=rgb, mask=mask if scene.use_masks else None)


def _behind(
    scene: Scene, n: int, background: str, generator: torch.Generator, device: torch.device
) -> Tensor:
    if background == "random" and scene.composite and scene.use_masks:
        return torch.rand(n, 3, generator=generator, device=device)
    if background in COLORS and scene.composite:
        return torch.full((n, 3), COLORS[background], device=device)
    if background not in ("random", "dataset", *COLORS):
        raise ValueError(f"train.background is one of random, white, black, dataset, found {background!r}")
    return scene.background.to(device).expand(n, 3)
