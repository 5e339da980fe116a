"""Whether views can show a scene: without parallax, or with empty masks, training ends in nothing and no loss tells."""

import logging

import torch

from isosweep.data.uniform import uniform_pixels
from isosweep.types import Scene

log = logging.getLogger("isosweep")
N_PIXELS = 4096


def check_masks(scene: Scene) -> None:
    """Looks at ``N_PIXELS`` random pixels of the training views, drawn with a fixed seed; at all of them where these
    say nothing.

    Raises:
        ValueError: training sees the masks, and none of the pixels is foreground.
    """
    if not scene.use_masks:
        return
    generator = torch.Generator().manual_seed(0)
    places = uniform_pixels(scene.images.hw, scene.splits["train"], N_PIXELS, generator)
    _, mask = scene.images.gather(*places)
    if mask is None:
        return
    if float(mask.max()) == 0 and not any(_has_foreground(scene, v) for v in scene.splits["train"]):
        raise ValueError(
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
    """Whether the training views are of more than one place.

    Raises:
        ValueError: all of several training views have one pose.
    """
    c2w = scene.cameras.c2w[list(scene.splits["train"])]
    if len(c2w) < 2:
        return
    what = f"all {len(c2w)} training views of {scene.dataset} scene {scene.name}"
    if bool((c2w == c2w[0]).all()):
        raise ValueError(
            f"{what} have one and the same pose, so no depth can be found: write the poses of the cameras again, one "
            "for each image"
        )
    if bool((c2w[:, :, 3] == c2w[0, :, 3]).all()):
        log.warning("%s were taken from one place: turning alone shows no depth", what)


def _has_foreground(scene: Scene, view: int) -> bool:
    mask = scene.images.image(view)[1]
    return mask is not None and bool((mask > 0).any())
