"""Training batches: random pixels of the training views, as rays with their colours."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from isosweep import ops
from isosweep.data.backdrop import COLORS
from isosweep.data.image_store import ImageStore
from isosweep.data.kept import kept_places
from isosweep.data.point_rays import PointRays, joined
from isosweep.data.shuffled import ShuffledPixels
from isosweep.data.uniform import Places, on_device, uniform_pixels
from isosweep.data.working_set import WorkingSet
from isosweep.errors import InputError
from isosweep.geometry import pixel_rays
from isosweep.types import Batch, Photos, Scene


def draw(
    scene: Scene,
    n: int,
    background: str,
    crop: float,
    generator: torch.Generator,
    device: torch.device,
    points: "Targets | None" = None,
    n_points: int = 0,
    photos: Photos | None = None,
    n_patches: int = 0,
    working: WorkingSet | None = None,
    one_image: bool = False,
    shuffled: ShuffledPixels | None = None,
    drawn: int = 0,
    cones: bool = False,
    with_views: bool = False,
) -> Batch:
    """A batch of ``n`` random pixels, uniform over the training views and within each view.

    Pixels that masks say to ignore are never drawn: others are drawn in their place (data/kept.py).

    Where images have several sizes, each size is to have the same say in the loss. Where a view is drawn first, each
    has as many pixels of a batch as any other. Drawn from the list of all pixels, the larger images have more of them,
    and ``ray_extras['area']`` tells the area of each pixel, by which loss terms may weigh it.

    Args:
        scene: its cameras are on ``device``.
        background: what masked pixels are composited over. 'random' is another colour for each ray where training
            sees the masks, and the scene's colour elsewhere; 'dataset' is the scene's colour, which scores are
            computed on; 'white' and 'black' are the colours.
        crop: if above 0, only the central part of each image, of this share of its sides, is drawn from.
        generator: on ``device``.
        points: the scene's structure-from-motion points, if a loss term reads them; ``n_points`` random ones become
            ``Batch.points``.
        photos: the training images as grey pixels, if a loss term compares them; the first ``n_patches`` rays (of those
            on the object, where training sees masks) are to have a patch.
        working: the working set of a large scene. It is not used with ``crop``, ``one_image`` or ``shuffled``.
        one_image: all pixels are of one random training view; without replacement if ``shuffled`` is given.
        shuffled: the order in which pixels are drawn without replacement; not used with ``crop``.
        drawn: pixels that earlier batches took from it.
        cones: whether rays get the radius of their pixels' cones.
        with_views: whether the rays say which view they come from, for a model that has codes of views.

    Raises:
        ValueError: ``background`` is none of these.
    """
    if working is not None and crop == 0 and not one_image and shuffled is None:
        view, row, col, rgb, mask = working.draw(n, generator)
    else:
        places, views = _places(scene, n, crop, generator, one_image, shuffled, drawn)
        if isinstance(scene.images, ImageStore) and scene.images.ignores:
            hw = scene.cameras.hw
            again = partial(uniform_pixels, hw, views, len(places[0]), generator, crop)
            places = kept_places(scene.images, places, again, generator)
        view, row, col = places
        rgb, mask = scene.images.gather(view, row, col)
    batch = _batch(scene, (view, row, col), rgb, mask, background, generator, device, cones, with_views)
    if scene.sizes is not None and _from_one_list(shuffled, crop, one_image):
        area = on_device(tuple(float(size**2) for size in scene.sizes), view.device)[view]
        batch = replace(batch, ray_extras={"area": area})
    if photos is not None:
        batch = _with_patches(batch, (view, row, col), photos, n_patches)
    return batch if points is None else replace(batch, points=points.draw(view, n_points, generator))


def add_point_rays(
    batch: Batch,
    scene: Scene,
    known: PointRays,
    share: float,
    background: str,
    generator: torch.Generator,
    device: torch.device,
    cones: bool = False,
    with_views: bool = False,
) -> Batch:
    """The batch, and ``share`` times as many rays whose distance is known, as ``Batch.ray_extras[DISTANCE]``.

    Args:
        scene, background, generator, device, cones, with_views: as in ``draw``.
    """
    *places, distance = known.draw(max(1, round(share * len(batch.rays))), generator)
    rgb, mask = scene.images.gather(*places)
    return joined(
        batch, _batch(scene, places, rgb, mask, background, generator, device, cones, with_views), distance
    )


def _batch(
    scene: Scene,
    places: Sequence[Int[Tensor, " r"]],
    rgb: Float[Tensor, "r 3"],
    mask: Float[Tensor, " r"] | None,
    background: str,
    generator: torch.Generator,
    device: torch.device,
    cones: bool,
    with_views: bool,
) -> Batch:
    """What a batch is of pixels: their rays, and their colours over what lies behind them."""
    view, row, col = places
    behind = _behind(scene, len(view), background, generator, device)
    if scene.composite and mask is not None:
        rgb = ops.over(rgb, mask, behind)
    rays = pixel_rays(scene.cameras, view, row, col, behind, cones)
    if with_views:
        rays = replace(rays, view=view)
    return Batch(rays=rays, rgb=rgb, mask=mask if scene.use_masks else None)


def _with_patches(batch: Batch, places: Sequence[Int[Tensor, " r"]], photos: Photos, n: int) -> Batch:
    """The batch, whose first ``n`` rays (of those on the object, where training sees masks) have a patch."""
    view, row, col = places
    fit = torch.ones_like(view, dtype=torch.bool) if batch.mask is None else batch.mask > 0.5
    extras = {"view": view, "row": row, "col": col, "patch": fit & (fit.cumsum(0) <= n)}
    return replace(batch, ray_extras={**batch.ray_extras, **extras}, photos=photos)


def _from_one_list(shuffled: ShuffledPixels | None, crop: float, one_image: bool) -> bool:
    """Whether pixels are drawn from the list of all of them, and not a view first."""
    return shuffled is not None and crop == 0 and not one_image


def _places(
    scene: Scene,
    n: int,
    crop: float,
    generator: torch.Generator,
    one_image: bool,
    shuffled: ShuffledPixels | None,
    drawn: int,
) -> tuple[Places, Sequence[int] | Tensor]:
    """View, row and column of each pixel, and the views they were drawn from.

    Of fewer than ``n`` pixels where one image without replacement has no more.
    """
    hw, views = scene.cameras.hw, scene.splits["train"]
    if shuffled is not None and _from_one_list(shuffled, crop, one_image):
        return shuffled.draw(drawn, n), views
    if one_image:
        chosen = torch.randint(len(views), (1,), generator=generator, device=hw.device)
        if shuffled is not None and crop == 0:
            view = views[int(chosen)]
            height, width = hw[view].tolist()
            order = torch.randperm(height * width, generator=generator, device=hw.device)[:n]
            return (torch.full_like(order, view), order // width, order % width), (view,)
        # the card alone knows the view: the host need not wait for it
        views = on_device(tuple(views), hw.device)[chosen]
    return uniform_pixels(hw, views, n, generator, crop), views


@final
class Targets:
    """The structure-from-motion points inside the scene's box, sorted by the views that see them."""

    def __init__(self, scene: Scene, device: torch.device) -> None:
        """Sort the points of a scene.

        Raises:
            ValueError: no training view sees a point in the box. `TotalLoss.check` refuses such a scene earlier.
        """
        if not has_points(scene) or scene.points is None:
            raise InputError(f"scene {scene.name} has no structure-from-motion points inside its box")
        inside = scene.points.abs().amax(-1) < scene.radius
        self.points = scene.points[inside].to(device)
        n_views = len(scene.cameras)
        if scene.sightings is None:
            # it is not known which view sees which point: every view may see all points
            self.seen = torch.arange(len(self.points), device=device)
            self.start = torch.zeros(n_views, dtype=torch.long, device=device)
            self.count = torch.full_like(self.start, len(self.points))
            return
        place, offsets = inside.cumsum(0) - 1, scene.sightings.offsets
        kept = inside[scene.sightings.point]
        before = torch.cat([kept.new_zeros(1, dtype=torch.long), kept.cumsum(0)])[offsets]
        self.seen = place[scene.sightings.point[kept]].to(device)
        self.start, self.count = before[:-1].to(device), before.diff().to(device)

    def draw(self, view: Int[Tensor, " r"], n: int, generator: torch.Generator) -> Float[Tensor, "p 3"]:
        """``n`` random points in normalised units: a random ray of the batch for each, then a point that its view sees.

        There are fewer than ``n`` where some views see no point. The mean over the points is then the mean over
        views, weighted by their rays, of the mean over the points of a view. Geo-NeuS uses one view a step.

        Args:
            view: the view of each ray of the batch.
            generator: on the device of the points.
        """
        device = self.points.device
        chosen = view[torch.randint(len(view), (n,), generator=generator, device=device)]
        place = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
        count = self.count[chosen]
        index = self.start[chosen] + torch.minimum((place * count).long(), count - 1)
        return self.points[self.seen[index[count > 0]]]


def has_points(scene: Scene) -> bool:
    """Whether any training view of the scene sees a structure-from-motion point inside the box."""
    if scene.points is None:
        return False
    inside = scene.points.abs().amax(-1) < scene.radius
    if scene.sightings is None:
        return bool(inside.any())
    start, end = scene.sightings.offsets[:-1], scene.sightings.offsets[1:]
    seen = [scene.sightings.point[start[v] : end[v]] for v in scene.splits["train"]]
    return bool(inside[torch.cat(seen)].any())


def _behind(
    scene: Scene, n: int, background: str, generator: torch.Generator, device: torch.device
) -> Tensor:
    if background == "random" and scene.composite and scene.use_masks:
        return torch.rand(n, 3, generator=generator, device=device)
    if background in COLORS and scene.composite:
        return on_device((COLORS[background],) * 3, device).expand(n, 3)
    if scene.background.device == device:
        return scene.background.expand(n, 3)
    # the host has the colour: a card that is sent it in every step waits for it
    return on_device(tuple(scene.background.tolist()), device).expand(n, 3)
