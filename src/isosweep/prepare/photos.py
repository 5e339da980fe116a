"""A folder of photographs becomes working copies: upright RGB files with safe names, at most ``size`` pixels long.

Files that cannot be used are skipped, each with its reason.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from isosweep.data.decode import TURNS, Source, decode, has_alpha, orientation
from isosweep.errors import InputError
from isosweep.prepare.focal import Focal, read_focal
from isosweep.prepare.image_io import save_image, shrink
from isosweep.runtime.image_file import UNREADABLE, open_image

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
UNSUPPORTED = {
    ".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF", ".dng": "raw", ".cr2": "raw", ".cr3": "raw",
    ".nef": "raw", ".arw": "raw", ".raf": "raw", ".orf": "raw", ".rw2": "raw", ".gif": "GIF",
}  # fmt: skip
"""Image files that are named to the user, but not read."""
SMALLEST_SIDE = 64
"""A photograph whose shorter side has fewer pixels is skipped."""
JPG_QUALITY = 97


@dataclass(frozen=True)
class CopiedPhoto:
    """The working copy of a photograph. prepare.json stores the fields under these names."""

    name: str
    """File name of the working copy. It has no spaces, and no other copy has the same name without ending."""
    source: str
    """File name of the original."""
    width: int
    """Of the working copy, in pixels."""
    height: int
    focal: Focal
    turned: bool
    """True if the EXIF orientation was applied."""
    alpha: bool
    """True if some pixels are transparent."""


def list_photos(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The photographs of a folder in the order of their names.

    Returns:
        The files, and for each image file of an unsupported format its name and the reason to skip it.

    Raises:
        FileNotFoundError: there is no such folder, or no photograph in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder or video {folder}: give a folder of photographs or a video file")
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    kept = [p for p in files if p.suffix.lower() in ENDINGS]
    skipped = {p.name: _why_unsupported(p) for p in files if p.suffix.lower() in UNSUPPORTED}
    if kept:
        return kept, skipped
    subfolders = sorted(
        p.name
        for p in folder.iterdir()
        if p.is_dir() and any(q.suffix.lower() in ENDINGS for q in p.iterdir())
    )
    if skipped:
        found = (
            f"found {len(skipped)} files such as {next(iter(skipped))}, which {next(iter(skipped.values()))}"
        )
    elif subfolders:
        found = f"its folders {', '.join(subfolders[:5])} have some: give one of them"
    else:
        found = f"found {', '.join(p.name for p in files[:5]) or 'nothing'}"
    endings = " ".join(sorted(ENDINGS))
    raise FileNotFoundError(f"no photographs in {folder} (sought {endings}); {found}")


def _why_unsupported(path: Path) -> str:
    kind = UNSUPPORTED[path.suffix.lower()]
    return f"are {kind}, which Pillow does not read here: convert them to jpg (heif-convert, darktable-cli)"


def unique_names(files: list[Path]) -> list[str]:
    """A name for the working copy of each file: without spaces, and unique even without its ending.

    Lossless formats become png, the others jpg.
    """
    taken: set[str] = set()
    names = []
    for file in files:
        stem = "_".join(file.stem.split()) or "image"
        base, n = stem, 2
        while stem.lower() in taken:
            stem, n = f"{base}_{n}", n + 1
        taken.add(stem.lower())
        names.append(stem + (".png" if file.suffix.lower() in (".png", ".tif", ".tiff", ".bmp") else ".jpg"))
    return names


def read_upright(path: Path) -> tuple[UInt8[np.ndarray, "h w c"], Focal, bool]:
    """Read a photograph and apply its EXIF orientation.

    Returns:
        Pixels with 3 channels, or 4 if the file has an alpha channel; the focal length of the EXIF; and
        whether the orientation changed anything.

    Raises:
        ValueError: the file is damaged, no image, or of a mode that is no colour picture.
    """
    try:
        with open_image(path) as image:
            focal = read_focal(image)
            turn = TURNS.get(orientation(image))
            alpha = has_alpha(image)
    except UNREADABLE as error:
        raise InputError(f"cannot be read ({error})") from error
    pixels = decode(Source(path), alpha, 1)
    if turn is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(turn))
    return pixels, focal, turn is not None


def copy_photo(path: Path, name: str, images: Path, alphas: Path, size: int) -> CopiedPhoto | str:
    """Write the working copy ``images / name`` of one photograph.

    A jpg or png that needs no change is copied byte by byte. An alpha channel is composited on black and
    saved as ``alphas / <stem of name>.png``.

    Args:
        size: the most pixels of the longer side, 0 for no limit.

    Returns:
        The copy, or the reason why the photograph cannot be used.
    """
    try:
        pixels, focal, turned = read_upright(path)
    except ValueError as error:
        return str(error)
    if min(pixels.shape[:2]) < SMALLEST_SIDE:
        return f"is only {pixels.shape[1]}x{pixels.shape[0]} pixels"
    alpha = pixels.shape[2] == 4
    if alpha and pixels[..., 3].min() == 255:
        alpha, pixels = False, pixels[..., :3]
    unchanged = not turned and not alpha and (not size or max(pixels.shape[:2]) <= size)
    if alpha:
        opacity = Image.fromarray(np.ascontiguousarray(pixels[..., 3]))
        shrink(opacity, size).save(alphas / f"{Path(name).stem}.png")
        weight = pixels[..., 3:].astype(np.float32) / 255
        pixels = np.rint(pixels[..., :3] * weight).astype(np.uint8)
    picture = shrink(Image.fromarray(np.ascontiguousarray(pixels)), size)
    target = images / name
    if unchanged and path.suffix.lower() in (".jpg", ".jpeg", ".png") and _is_rgb(path):
        target.write_bytes(path.read_bytes())
    else:
        save_image(target, picture, JPG_QUALITY)
    return CopiedPhoto(name, path.name, picture.width, picture.height, focal, turned, alpha)


def _is_rgb(path: Path) -> bool:
    with open_image(path) as image:
        return image.mode == "RGB"


def copy_photos(
    files: list[Path], images: Path, alphas: Path, size: int, workers: int, tick: Callable[[], None]
) -> tuple[list[CopiedPhoto], dict[str, str]]:
    """Write the working copies of all photographs, see `copy_photo`.

    Args:
        tick: called after each file.

    Returns:
        The copies, and for each file that cannot be used its name and the reason.
    """
    images.mkdir(parents=True, exist_ok=True)
    alphas.mkdir(parents=True, exist_ok=True)
    skipped: dict[str, str] = {}
    kept: list[CopiedPhoto] = []

    def copy(file: Path, name: str) -> CopiedPhoto | str:
        return copy_photo(file, name, images, alphas, size)

    with ThreadPoolExecutor(workers) as pool:
        for file, result in zip(files, pool.map(copy, files, unique_names(files)), strict=True):
            tick()
            if isinstance(result, CopiedPhoto):
                kept.append(result)
            else:
                skipped[file.name] = result
    return kept, skipped
