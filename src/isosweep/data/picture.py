"""The loader of single pictures: a picture is a plane of space that one pin-hole camera sees from the front.

So its pixels are rays, and batches, models, renders and scores work as they do for photographs. The picture lies in
the plane z = 0 with its longer side from -radius to radius, x to the right and y down, as its rows run. A ray meets the
plane in the centre of its pixel.
"""

import logging

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from isosweep.bounds import Part
from isosweep.data.backdrop import backdrop
from isosweep.data.decode import IGNORE, OBJECT, Source, decode, read_header, shrink
from isosweep.data.image_store import ImageStore, as_tensor
from isosweep.data.loading import ViewOptions
from isosweep.data.pattern import pattern
from isosweep.data.picture_files import find_picture, is_made, unknown_picture
from isosweep.errors import InputError
from isosweep.runtime.text import name_as_text
from isosweep.types import Cameras, Scene

log = logging.getLogger("isosweep")

VERSION = 1
"""Increased, together with dataset.version, when the pixels of the pattern change."""
DISTANCE = 3.0
"""From the camera to the plane, in units of the radius."""


def load(views: ViewOptions, *, held_out: Part = 0.0, version: int = VERSION) -> Scene:
    """Load one picture, as one view or as three.

    With ``held_out=0`` its one view is in all splits: scores are of pixels that were trained on. Else a share of the
    pixels is drawn once, with a fixed seed; half of them validate and half are scored, as views of their own that
    ignore all other pixels.

    Args:
        views: ``path``, or ``scene`` as `isosweep.data.picture_files.find_picture` reads it.
        held_out: share of the pixels, in [0, 1), that training does not see.
        version: of the pattern that needs no file. It is a setting so that a run on other pixels has another key.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is no image, or leaves nothing to train on or to score; another version; an option of views.
    """
    views = views.named("picture")
    _check(views, held_out, version)
    pixels, alpha = _pixels(views)
    height, width = pixels.shape[:2]
    kept = _kept(height * width, held_out)
    names: tuple[str, ...] = ("picture",)
    splits: dict[str, tuple[int, ...]] = {"train": (0,), "val": (0,), "test": (0,)}
    if kept is None:
        flat = as_tensor(pixels.reshape(height * width, -1))
        images = ImageStore(flat, torch.tensor([[height, width]]), alpha)
    else:
        names, splits = ("trained", "validated", "held-out"), {"train": (0,), "val": (1,), "test": (2,)}
        color = as_tensor(pixels[..., :3].reshape(-1, 3)).expand(3, -1, -1)
        flat = torch.cat([color, kept[..., None]], -1).reshape(-1, 4)
        images = ImageStore(flat, torch.tensor([[height, width]] * 3), False, ignores=True)
        if alpha:
            log.warning("the picture's alpha is left out: dataset.held_out takes the place of its mask")
    composite = images.has_masks
    to_world = np.diag([*[max(height, width) / (2 * views.radius)] * 3, 1.0])
    return Scene(
        name=name_as_text(views.scene),
        dataset=views.name,
        cameras=_cameras(height, width, len(names), views.radius),
        images=images,
        names=names,
        splits=splits,
        held_out=kept is not None,
        to_world=to_world,
        world_unit="pixel",
        radius=views.radius,
        near_far=((DISTANCE - 1) * views.radius, (DISTANCE + 1) * views.radius),
        background=backdrop(views.background, "white", composite, images, splits["train"]),
        composite=composite,
        use_masks=composite and bool(views.masks),
        mask_meaning=OBJECT if kept is None else IGNORE,
    )


def _check(views: ViewOptions, held_out: float, version: int) -> None:
    if version != VERSION:
        raise InputError(f"dataset.version={version}: this code draws version {VERSION} of the pattern")
    if not 0 <= held_out < 1:
        raise InputError(
            f"dataset.held_out is the share of pixels that are held out, in [0, 1), found {held_out:g}"
        )
    for name in ("image_ids", "n_images", "n_test", "test_every", "val_every"):
        if getattr(views, name) is not None:
            raise InputError(
                f"dataset.{name}={getattr(views, name)}: a picture is one view. Set it to null; dataset.held_out holds "
                "out pixels"
            )


def _pixels(views: ViewOptions) -> tuple[UInt8[np.ndarray, "h w c"], bool]:
    """The picture's pixels, and whether the fourth channel is its alpha."""
    if is_made(views):
        return shrink(pattern(), views.factor), False
    file = find_picture(views)
    if file is None:
        raise FileNotFoundError(unknown_picture(views))
    source = Source(file, turn=True)
    header = read_header(source)
    if min(header.height, header.width) < views.factor:
        raise InputError(f"dataset.downscale={views.factor} leaves nothing of {file}: lower it")
    # without masks the colours count as they are stored, also where they are transparent
    with_alpha = header.alpha and views.wants_masks
    return decode(source, with_alpha, views.factor), with_alpha


def _kept(n: int, held_out: float) -> UInt8[Tensor, "3 n"] | None:
    """Which of ``n`` pixels each of the three views keeps (255) and ignores (0); None if none is held out.

    Raises:
        InputError: one of the views would keep none.
    """
    if held_out == 0:
        return None
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    count = round(held_out * n)
    parts = order[count:], order[: count // 2], order[count // 2 : count]
    if min(map(len, parts)) == 0:
        raise InputError(
            f"dataset.held_out={held_out:g} of {n} pixels leaves {len(parts[0])} to train on, {len(parts[1])} to "
            f"validate and {len(parts[2])} to score: each needs one or more"
        )
    kept = torch.zeros(3, n, dtype=torch.uint8)
    for view, part in enumerate(parts):
        kept[view, part] = 255
    return kept


def _cameras(height: int, width: int, count: int, radius: float) -> Cameras:
    """``count`` cameras in front of the plane z = 0, all in one place: a pixel is a square of it.

    A pixel's side is s = 2 radius / (pixels along the longer side), so the focal length is distance / s.
    """
    focal = DISTANCE * max(height, width) / 2
    K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    c2w = torch.eye(4)[:3].clone()
    c2w[2, 3] = -DISTANCE * radius
    hw = torch.tensor([[height, width]] * count)
    return Cameras(c2w.repeat(count, 1, 1), K.repeat(count, 1, 1), hw, 0.5)
