"""The masks of the photographs of transforms jsons: ``mask_path`` of the frames, or another folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from isosweep.data import capture
from isosweep.data.capture import Photo
from isosweep.data.decode import IGNORE, OBJECT
from isosweep.data.loading import ViewOptions
from isosweep.data.mask_choice import choose_masks
from isosweep.data.normalization import EXTENSION
from isosweep.data.transforms import Entry, Json
from isosweep.data.transforms_photos import Photos


def with_masks(
    views: ViewOptions,
    folder: Path,
    entries: Sequence[Entry],
    made: Sequence[Photo],
    photos: Photos,
    custom: str | None = None,
) -> list[Photo]:
    """The photographs ``made`` of some entries, each with its mask. No file is sought with ``dataset.masks=false``.

    Args:
        custom: what masks of the format say where neither ``dataset.mask_meaning`` nor the json tells; None: what
            nerfstudio means if a frame has a mask_path, else the object.

    Raises:
        FileNotFoundError, InputError: as `choose_masks`, or a mask_path is no path.
    """
    listed: list[Path | None] = [None] * len(entries)
    if views.wants_masks:
        listed = [photos.mask(entry, as_written=views.mask_folder is not None) for entry in entries]
    is_listed = any(listed)
    if custom is None:
        custom = IGNORE if is_listed else OBJECT
    images = [photo.image for photo in made]
    # NeRF-synthetic's train/r_0.png and test/r_0.png have one name
    names = [os.path.relpath(image, folder) for image in images]
    meaning = _told(entries[0].meta, custom)
    masks = choose_masks(views, folder, images, None, listed if is_listed else None, meaning, names)
    return capture.with_masks(made, masks)


def _told(meta: Json, custom: str) -> str:
    """What the json says of its masks. Our own preparation writes masks of the object, in the field 'isosweep'."""
    own = meta.get(EXTENSION)
    if own is None:
        return custom
    return str(own.get("mask_meaning", OBJECT)) if isinstance(own, dict) else OBJECT
