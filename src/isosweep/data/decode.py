"""One image file (and its mask) to bytes: uint8 [h, w, 3] or [h, w, 4], the fourth channel the mask."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from isosweep.data import undistort
from isosweep.data.undistort import Undistortion

_COLOUR_MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "1", "I", "I;16", "I;16B", "I;16L")
_ORIENTATION = 0x0112
_UNREADABLE = (OSError, SyntaxError, EOFError, struct.error, ValueError, Image.DecompressionBombError)
"""What Pillow raises for files that are no image, are cut off or are damaged."""


@dataclass(frozen=True)
class Source:
    """Where the pixels of one view lie."""

    image: Path
    mask: Path | None = None
    listed_in: Path | None = None
    """The file that names the image, for the error where it is missing."""
    warp: Undistortion | None = None
    """The lens distortion to take out, of image and mask."""
    turn: bool | None = None
    """An EXIF orientation other than upright: obeyed, ignored, or (None) refused as ambiguous."""


@dataclass(frozen=True)
class Header:
    """What an image file says about itself before its pixels are decoded."""

    height: int
    width: int
    alpha: bool


def read_header(source: Source) -> Header:
    """Size and alpha of a view, without decoding it.

    Raises:
        FileNotFoundError: there is no such image or mask.
        ValueError: no image; an EXIF orientation other than upright (the camera file may mean either
            pixel grid, so nothing is turned in silence); a mask of another size.
    """
    with _open(source.image, source.listed_in) as image:
        turned = orientation(image)
        if turned != 1 and source.turn is None:
            raise ValueError(
                f"{source.image} asks to be turned when shown (EXIF orientation {turned}), so its pixel grid is "
                "ambiguous: write the pixels upright, as the camera poses mean them, and drop the tag "
                "(exiftool -Orientation= keeps the pixels, mogrify -auto-orient turns them)"
            )
        if image.mode not in _COLOUR_MODES:
            raise ValueError(
                f"{source.image} has pixels of mode {image.mode}; expected grey, RGB or RGBA of 8 or 16 bits: "
                "convert it"
            )
        size = (image.width, image.height)[:: -1 if turned >= 5 and source.turn else 1]
        header = Header(size[1], size[0], _has_alpha(image))
    if source.mask is not None:
        with _open(source.mask, None) as mask:
            if (mask.height, mask.width) != (header.height, header.width):
                raise ValueError(
                    f"mask {source.mask} is {mask.width}x{mask.height}, its image {source.image} is "
                    f"{header.width}x{header.height}: masks and images must have one size"
                )
    if source.warp is None:
        return header
    lens = source.warp.lens
    if (lens.width, lens.height) != size:
        raise ValueError(
            f"{source.image} is {size[0]}x{size[1]}, its lens was planned for {lens.width}x{lens.height}"
        )
    return Header(source.warp.height, source.warp.width, header.alpha)


def read_size(path: Path, listed_in: Path | None = None) -> tuple[int, int, int]:
    """Width, height and EXIF orientation (1: upright) of an image as it is stored.

    Raises:
        FileNotFoundError, ValueError: as `read_header`.
    """
    with _open(path, listed_in) as image:
        return image.width, image.height, orientation(image)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none.

    Asked for without an exif block, a png would be decoded whole to look for one at its end.
    """
    found = image.getexif().get(_ORIENTATION, 1) if "exif" in image.info else 1
    return found if isinstance(found, int) and 1 < found <= 8 else 1


def decode(source: Source, with_mask: bool, downscale: int) -> UInt8[np.ndarray, "h w c"]:
    """Straight colour, and with ``with_mask`` the mask file or else the alpha as fourth channel.

    16-bit files keep the high byte. Downscaling is a box filter over ``downscale`` squared pixels;
    rows and columns that fill no box are cut at the bottom and the right. Under alpha the colours are
    averaged premultiplied, so that invisible pixels do not bleed in; with a mask file the photograph
    is real everywhere and is averaged as it is.
    """
    alpha_is_mask = with_mask and source.mask is None
    image = _pixels(source.image)
    colour, alpha = _colour(ImageOps.exif_transpose(image) if source.turn else image)
    if not with_mask:
        return shrink(_straight(colour, source, False), downscale)
    mask = alpha if alpha_is_mask else _mask(_pixels(source.mask)) if source.mask else None
    if mask is None:
        mask = np.full(colour.shape[:2], 255, np.uint8)
    pixels = _straight(np.dstack([colour, mask]), source, alpha_is_mask)
    return shrink(pixels, downscale, premultiply=alpha_is_mask)


def _straight(pixels: UInt8[np.ndarray, "h w c"], source: Source, premultiply: bool) -> np.ndarray:
    return pixels if source.warp is None else undistort.apply(pixels, source.warp, premultiply)


def shrink(
    pixels: UInt8[np.ndarray, "h w c"], factor: int, premultiply: bool = False
) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Mean over boxes of factor x factor pixels; premultiplied by the fourth channel if asked."""
    if factor == 1:
        return pixels
    h, w = pixels.shape[0] // factor, pixels.shape[1] // factor
    boxes = pixels[: h * factor, : w * factor].reshape(h, factor, w, factor, -1).astype(np.float32)
    if not premultiply:
        return np.rint(boxes.mean((1, 3))).astype(np.uint8)
    weight = boxes[..., 3:]
    total = weight.sum((1, 3))
    colour = (boxes[..., :3] * weight).sum((1, 3)) / np.maximum(total, 1.0)
    return np.rint(np.concatenate([colour, total / factor**2], -1)).astype(np.uint8)


def _open(path: Path, listed_in: Path | None) -> Image.Image:
    if not path.is_file():
        listed = f", which {listed_in} lists" if listed_in is not None else ""
        raise FileNotFoundError(f"no image {path}{listed}: the data set is incomplete or its paths are wrong")
    try:
        return Image.open(path)
    except _UNREADABLE as error:
        raise ValueError(_unreadable(path, error)) from error


def _pixels(path: Path) -> Image.Image:
    image = _open(path, None)
    try:
        with image:
            image.load()
            return (
                image.convert("RGBA" if _has_alpha(image) else "RGB") if image.mode in ("P", "PA") else image
            )
    except _UNREADABLE as error:
        raise ValueError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: BaseException) -> str:
    return (
        f"cannot decode image {path} ({path.stat().st_size} bytes): {error}. "
        "It is damaged or was cut off: copy it again"
    )


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def _colour(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    if image.mode.startswith("I"):
        grey = _high_byte(image)
        return np.dstack([grey] * 3), None
    if not _has_alpha(image):
        return np.asarray(image.convert("RGB")), None
    rgba = np.asarray(image.convert("RGBA"))
    return rgba[..., :3], rgba[..., 3]


def _mask(image: Image.Image) -> np.ndarray:
    grey = _high_byte(image) if image.mode.startswith("I") else np.asarray(image.convert("RGB")).max(-1)
    # some data sets write 0 and 1: read as bytes that would be a mask of nothing
    return grey * np.uint8(255) if grey.max() == 1 else grey


def _high_byte(image: Image.Image) -> np.ndarray:
    return (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
