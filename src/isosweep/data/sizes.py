"""One scene in images of several sizes, trained on and scored together: ``dataset.downscale=[1,2,4]``.

Source: the multi-scale data set of mip-NeRF (Barron et al. 2021, section 4.1), whose images are box filtered like ours.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from isosweep.data.image_store import ImageStore
from isosweep.errors import InputError
from isosweep.types import Cameras, Scene, Sightings


def joined(scenes: Sequence[Scene], sizes: Sequence[int]) -> Scene:
    """One scene with the views of all ``scenes``, which are the same one at several sizes; all pixels in memory.

    Views are in the order of the sizes. Those of the first size keep their names; others are 'name@size'.

    Args:
        sizes: the ``downscale`` of each.

    Raises:
        InputError: the images of a scene are in no ``ImageStore``.
    """
    first, counts = scenes[0], [len(scene.cameras) for scene in scenes]
    starts = [sum(counts[:k]) for k in range(len(scenes))]
    names = [
        name if k == 0 else f"{name}@{sizes[k]}" for k, scene in enumerate(scenes) for name in scene.names
    ]
    splits = {
        split: tuple(
            start + view for start, scene in zip(starts, scenes, strict=True) for view in scene.splits[split]
        )
        for split in first.splits
    }
    return replace(
        first,
        cameras=_cameras([scene.cameras for scene in scenes]),
        images=ImageStore.joined([_store(scene) for scene in scenes]),
        names=tuple(names),
        splits=splits,
        sightings=_sightings([scene.sightings for scene in scenes]),
        sizes=tuple(size for size, count in zip(sizes, counts, strict=True) for _ in range(count)),
    )


def _store(scene: Scene) -> ImageStore:
    if not isinstance(scene.images, ImageStore):
        raise InputError(
            f"dataset.downscale with several sizes needs images in a store, and those of scene {scene.name} are "
            f"in a {type(scene.images).__name__}: give one number"
        )
    return scene.images


def _cameras(some: Sequence[Cameras]) -> Cameras:
    def cat(values: Sequence[Tensor | None]) -> Tensor | None:
        known = [value for value in values if value is not None]
        return torch.cat(known) if len(known) == len(values) else None

    return replace(
        some[0],
        c2w=torch.cat([one.c2w for one in some]),
        K=torch.cat([one.K for one in some]),
        hw=torch.cat([one.hw for one in some]),
        near=cat([one.near for one in some]),
    )


def _sightings(some: Sequence[Sightings | None]) -> Sightings | None:
    known = [one for one in some if one is not None]
    if len(known) < len(some):
        return None
    offsets = known[0].offsets
    for one in known[1:]:
        offsets = torch.cat([offsets, offsets[-1] + one.offsets[1:]])
    return Sightings(torch.cat([one.point for one in known]), offsets)
