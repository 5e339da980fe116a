"""Rays whose distance is known: those through pixels at which the reconstruction saw one of its points."""

from dataclasses import fields, replace
from typing import final

import torch
from torch import Tensor

from isosweep.data.image_store import ImageStore
from isosweep.errors import InputError
from isosweep.geometry import project
from isosweep.types import DISTANCE, Batch, Rays, Scene


@final
class PointRays:
    """For each training view the pixels at which it saw a point inside the box, and how far away that is.

    O observations: a point, and a view that saw it.
    """

    def __init__(self, scene: Scene) -> None:
        """Sort the observations of a scene.

        Args:
            scene: on any device; the observations lie where its cameras are.

        Raises:
            InputError: no training view has one. `TotalLoss.check` refuses such a scene earlier.
        """
        found = observations(scene)
        if found is None:
            raise InputError(f"scene {scene.name} has no view that is known to see a point inside its box")
        self.view, self.row, self.col, self.distance, self.start, self.count = (
            values.to(scene.cameras.c2w.device) for values in found
        )

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """View, row, column and distance [N] of ``n`` observations: a random view for each, then one of its own.

        Args:
            generator: on the device of the cameras.
        """
        device = self.view.device
        chosen = torch.randint(len(self.start), (n,), generator=generator, device=device)
        place = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
        count = self.count[chosen]
        index = self.start[chosen] + torch.minimum((place * count).long(), count - 1)
        return self.view[index], self.row[index], self.col[index], self.distance[index]


def observations(scene: Scene) -> tuple[Tensor, ...] | None:
    """View, row, column and distance [O] of what training views saw inside the box, and first and number [N] by view.

    None where nothing is known. The distance is that from the camera to the point, in normalised units; a pixel is the
    one whose centre lies nearest to the point's image. Pixels that masks say to ignore are left out, as in every
    batch. Views that see nothing are left out of the [N].
    """
    if scene.points is None or scene.sightings is None or scene.cameras.ndc is not None:
        return None
    cameras = scene.cameras.to("cpu")
    points, seen = scene.points.cpu(), scene.sightings.to("cpu")
    inside = points.abs().amax(-1) < scene.radius
    columns: list[tuple[Tensor, ...]] = []
    for v in scene.splits["train"]:
        own = seen.point[seen.offsets[v] : seen.offsets[v + 1]]
        xyz = points[own[inside[own]]]
        image, depth = project(cameras, v, xyz)
        place = image.round().long()
        height, width = cameras.hw[v].tolist()
        there = (depth > 0) & (place >= 0).all(1) & (place[:, 0] < width) & (place[:, 1] < height)
        kept = scene.images.kept_image(v) if isinstance(scene.images, ImageStore) else None
        if kept is not None:
            there &= kept[place[:, 1].clamp(0, height - 1), place[:, 0].clamp(0, width - 1)]
        if bool(there.any()):
            away = (xyz - cameras.c2w[v, :, 3]).norm(dim=1)
            view = torch.full_like(place[:, 0], v)
            columns.append(tuple(values[there] for values in (view, place[:, 1], place[:, 0], away)))
    if not columns:
        return None
    count = torch.tensor([len(column[0]) for column in columns])
    return *(torch.cat(values) for values in zip(*columns, strict=True)), count.cumsum(0) - count, count


def joined(first: Batch, more: Batch, distance: Tensor) -> Batch:
    """The rows of two batches of the same scene; ``distance`` [N] is that of the second's rays, 0 that of the first's.

    The first's points, photographs and extras are kept; its extras are 0 for the second's rays.
    """
    names = [f.name for f in fields(Rays) if isinstance(getattr(first.rays, f.name), Tensor)]
    values = {name: torch.cat([getattr(b.rays, name) for b in (first, more)]) for name in names}
    mask = None if first.mask is None or more.mask is None else torch.cat([first.mask, more.mask])
    extras = {
        name: torch.cat([value, value.new_zeros(len(more.rays), *value.shape[1:])])
        for name, value in first.ray_extras.items()
    }
    extras[DISTANCE] = torch.cat([distance.new_zeros(len(first.rays)), distance])
    return replace(
        first,
        rays=replace(first.rays, **values),
        rgb=torch.cat([first.rgb, more.rgb]),
        mask=mask,
        ray_extras=extras,
    )
