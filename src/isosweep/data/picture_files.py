"""Finds the file of a picture; the error for a missing one names those that are there. Does not import torch."""

from collections.abc import Iterator
from pathlib import Path

from isosweep.data.folders import data_folder, hint
from isosweep.data.image_files import ENDINGS
from isosweep.data.loading import ViewOptions

PATTERN = "pattern"
"""The scene that is drawn by formulas and needs no file."""


def is_made(views: ViewOptions) -> bool:
    """Whether the picture is the one that needs no file."""
    return views.scene == PATTERN and views.path is None


def find_picture(views: ViewOptions) -> Path | None:
    """The file of a picture; None if there is none.

    This is ``views.path`` if given, else the first file among <scene> itself, <root>/<scene>, <root>/picture_<scene>,
    <root>/picture/<scene> and <root>/picture/picture_<scene>, each as written and with one of ``ENDINGS`` added.
    """
    return next((place for place in _places(views) if place.is_file()), None)


def unknown_picture(views: ViewOptions) -> str | None:
    """The error for a picture without a file; None for one that has a file, or needs none."""
    if is_made(views) or find_picture(views) is not None:
        return None
    if views.path is not None:
        return f"no picture {views.path}: dataset.path is the image file itself"
    folder = data_folder(views)
    there = pictures(folder)
    found = f"{folder} has: {', '.join(there[:12])}" if len(there) > 1 else f"{folder} has no image file"
    return (
        f"no picture '{views.scene}' here or in {folder}{hint(views.scene, there)} {found}. Set scene= to an image "
        f"file ({', '.join(e[1:] for e in ENDINGS)}), or scene={PATTERN}, which needs none"
    )


def pictures(folder: Path) -> list[str]:
    """The names of the pictures in a folder, and of the one that needs no file."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted({PATTERN, *(p.name for p in files if _is_picture(p))})


def _is_picture(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in ENDINGS


def _places(views: ViewOptions) -> Iterator[Path]:
    if views.path is not None:
        yield Path(views.path)
        return
    root, named = Path(views.root), f"picture_{views.scene}"
    folder = root / "picture"
    for place in (Path(views.scene), root / views.scene, root / named, folder / views.scene, folder / named):
        yield place
        yield from (place.with_name(place.name + ending) for ending in ENDINGS)
