"""Whether a scene's folder holds masks, as far as file names and image headers tell."""

import os
from functools import lru_cache
from pathlib import Path

from isosweep.data.decode import Source, read_header
from isosweep.errors import InputError

_HEAD = 1 << 24
_WITH_ALPHA = (".png", ".webp", ".tif", ".tiff")


@lru_cache(maxsize=256)
def surely_no_masks(scene: Path) -> bool:
    """Whether nothing in a scene's folder can be a mask; False where this is not certain.

    A mask may be a folder or a file whose name says so (mask/, masks_4/, IMG_1_mask.png), a file that a json names as
    ``mask_path``, or the alpha channel of an image. Which of them counts is for the loader to say.
    """
    for folder, names, files in os.walk(scene):
        if any("mask" in name.lower() for name in (*names, *files)):
            return False
        for path in (Path(folder, name) for name in files):
            if path.suffix == ".json" and _may_name_masks(path):
                return False
            if path.suffix.lower() in _WITH_ALPHA and _may_have_alpha(path):
                return False
    return True


def _may_name_masks(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return b"mask_path" in head or len(head) == _HEAD  # the run finds out what the rest of a large file says


def _may_have_alpha(path: Path) -> bool:
    try:
        return read_header(Source(path, turn=True)).alpha
    except InputError:
        return True  # the run names the damaged file when it loads it
