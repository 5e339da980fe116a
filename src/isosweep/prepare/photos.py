"""A folder of photographs as upright RGB files of one numbering, and what was left out and why."""

import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from isosweep.data.decode import Source, decode
from isosweep.prepare.focal import Focal, read_focal

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
FOREIGN = {
    ".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF", ".dng": "raw", ".cr2": "raw", ".cr3": "raw",
    ".nef": "raw", ".arw": "raw", ".raf": "raw", ".orf": "raw", ".rw2": "raw", ".gif": "GIF",
}  # fmt: skip
SMALLEST = 64
_UNREADABLE = (OSError, SyntaxError, EOFError, struct.error, ValueError, Image.DecompressionBombError)
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Photo:
    """One photograph as it is used."""

    name: str
    """File name of the working copy, unique also without its ending, without spaces."""
    source: str
    """File name of the original."""
    width: int
    height: int
    focal: Focal
    turned: bool
    alpha: bool


def list_photos(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Image files of a folder in the order of their names, and other image files with what to do about them.

    Raises:
        FileNotFoundError: there is no such folder, or no photograph in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder or video {folder}: give a folder of photographs or a video file")
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    kept = [p for p in files if p.suffix.lower() in ENDINGS]
    left = {p.name: _foreign(p) for p in files if p.suffix.lower() in FOREIGN}
    if kept:
        return kept, left
    inside = sorted(
        p.name
        for p in folder.iterdir()
        if p.is_dir() and any(q.suffix.lower() in ENDINGS for q in p.iterdir())
    )
    if left:
        found = f"found {len(left)} files such as {next(iter(left))}, which {next(iter(left.values()))}"
    elif inside:
        found = f"its folders {', '.join(inside[:5])} have some: give one of them"
    else:
        found = f"found {', '.join(p.name for p in files[:5]) or 'nothing'}"
    endings = " ".join(sorted(ENDINGS))
    raise FileNotFoundError(f"no photographs in {folder} (sought {endings}); {found}")


def _foreign(path: Path) -> str:
    kind = FOREIGN[path.suffix.lower()]
    return f"are {kind}, which Pillow does not read here: convert them to jpg (heif-convert, darktable-cli)"


def unique_names(files: list[Path]) -> list[str]:
    """A name for every file that holds no space and is unique without its ending."""
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


def upright(path: Path) -> tuple[UInt8[np.ndarray, "h w c"], Focal, bool]:
    """Pixels as they are meant to be seen (3 channels, or 4 with the alpha), stated focal, whether turned.

    Raises:
        ValueError: no image, damaged, or of a mode that is no colour picture.
    """
    try:
        with Image.open(path) as image:
            focal = read_focal(image)
            turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
            alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    except _UNREADABLE as error:
        raise ValueError(f"cannot be read ({error})") from error
    pixels = decode(Source(path), alpha, 1)
    if turn is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(turn))
    return pixels, focal, turn is not None


def copy_photo(path: Path, name: str, images: Path, alphas: Path, size: int) -> Photo | str:
    """Write the working copy of one photograph; the reason in words where it cannot be used.

    A file that is upright, small enough and without alpha is copied byte by byte. Under alpha the
    colour is on black, and the alpha itself goes to ``alphas``.
    """
    try:
        pixels, focal, turned = upright(path)
    except ValueError as error:
        return str(error)
    if min(pixels.shape[:2]) < SMALLEST:
        return f"is only {pixels.shape[1]}x{pixels.shape[0]} pixels"
    alpha = pixels.shape[2] == 4
    if alpha and pixels[..., 3].min() == 255:
        alpha, pixels = False, pixels[..., :3]
    plain = not turned and not alpha and (not size or max(pixels.shape[:2]) <= size)
    if alpha:
        cover = Image.fromarray(np.ascontiguousarray(pixels[..., 3]))
        _shrunk(cover, size).save(alphas / f"{Path(name).stem}.png")
        weight = pixels[..., 3:].astype(np.float32) / 255
        pixels = np.rint(pixels[..., :3] * weight).astype(np.uint8)
    picture = _shrunk(Image.fromarray(np.ascontiguousarray(pixels)), size)
    target = images / name
    if plain and path.suffix.lower() in (".jpg", ".jpeg", ".png") and _is_rgb(path):
        target.write_bytes(path.read_bytes())
    elif target.suffix == ".png":
        picture.save(target, compress_level=3)
    else:
        picture.save(target, quality=97, subsampling=0)
    return Photo(name, path.name, picture.width, picture.height, focal, turned, alpha)


def _is_rgb(path: Path) -> bool:
    with Image.open(path) as image:
        return image.mode == "RGB"


def _shrunk(picture: Image.Image, size: int) -> Image.Image:
    longer = max(picture.size)
    if not size or longer <= size:
        return picture
    w, h = (max(1, round(s * size / longer)) for s in picture.size)
    return picture.resize((w, h), Image.Resampling.LANCZOS, reducing_gap=3.0)


def copy_photos(
    files: list[Path], images: Path, alphas: Path, size: int, workers: int, tick
) -> tuple[list[Photo], dict[str, str]]:
    """Working copies of all photographs; (those that are usable, name -> why another is not).

    Args:
        tick: called without arguments after each file.
    """
    images.mkdir(parents=True, exist_ok=True)
    alphas.mkdir(parents=True, exist_ok=True)
    left: dict[str, str] = {}
    kept: list[Photo] = []

    def one(job: tuple[Path, str]) -> Photo | str:
        return copy_photo(*job, images, alphas, size)

    with ThreadPoolExecutor(workers) as pool:
        for file, done in zip(
            files, pool.map(one, zip(files, unique_names(files), strict=True)), strict=True
        ):
            tick()
            if isinstance(done, Photo):
                kept.append(done)
            else:
                left[file.name] = done
    return kept, left
