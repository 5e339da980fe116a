"""Checks of a loaded scene before training.

Cameras that all stand in one place show no depth, and empty masks show no object. Training would end without a
surface, and the loss would not show why.
"""

import logging

import torch

from isosweep.data.uniform import uniform_pixels
from isosweep.errors import InputError
from isosweep.types import Scene

log = logging.getLogger("isosweep")
N_PIXELS = 4096
"""Pixels of the masks that are read, drawn with a fixed seed."""


def check_masks(scene: Scene) -> None:
    """Check that the masks of the training views show a foreground; warn where they show nothing else.

    ``N_PIXELS`` random pixels are read first, and all pixels where those are all background.

    Raises:
        ValueError: training uses the masks, and no pixel of any training view is foreground.
    """
    if not scene.use_masks:
        return
    generator = torch.Generator().manual_seed(0)
    places = uniform_pixels(scene.images.hw, scene.splits["train"], N_PIXELS, generator)
    _, mask = scene.images.gather(*places)
    if mask is None:
        return
    if float(mask.max()) == 0 and not any(_has_foreground(scene, v) for v in scene.splits["train"]):
        raise InputError(
            f"the masks of {scene.dataset} scene {scene.name} are black in every training view. White is "
            "foreground: draw them again, or train without (dataset.masks=false)"
        )
    if float(mask.min()) == 1:
        log.warning(
            "the masks of %s scene %s are white everywhere: they tell training nothing about the object's outline",
            scene.dataset,
            scene.name,
        )


def check_poses(scene: Scene) -> None:
    """Check that the training cameras differ; warn where they differ in direction only.

    Raises:
        ValueError: there are several training views, and all have the same pose.
    """
    c2w = scene.cameras.c2w[list(scene.splits["train"])]
    if len(c2w) < 2:
        return
    what = f"all {len(c2w)} training views of {scene.dataset} scene {scene.name}"
    if bool((c2w == c2w[0]).all()):
        raise InputError(
            f"{what} have one and the same pose, so no depth can be found: write the poses of the cameras again, one "
            "for each image"
        )
    if bool((c2w[:, :, 3] == c2w[0, :, 3]).all()):
        log.warning("%s were taken from one place: turning alone shows no depth", what)


def _has_foreground(scene: Scene, view: int) -> bool:
    mask = scene.images.image(view)[1]
    return mask is not None and bool((mask > 0).any())
