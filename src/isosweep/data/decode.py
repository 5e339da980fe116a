"""Decodes one image file and its mask to bytes: uint8 [h, w, 3], or [h, w, 4] with the mask as fourth channel."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from isosweep.data import undistort
from isosweep.data.undistort import Undistortion
from isosweep.errors import InputError
from isosweep.runtime.image_file import FORMATS, UNREADABLE, TooLarge, exif_values, open_image

OBJECT, IGNORE, IGNORE_WHITE = "object", "ignore", "ignore_white"
"""What a mask says: white is the object; black pixels are to be ignored; white pixels are to be ignored."""
_GREY = ("L", "I", "I;16", "I;16B", "I;16L")
_COLOUR_MODES = (*_GREY, "RGB", "RGBA", "RGBX", "RGBa", "LA", "La", "P", "PA", "1", "CMYK", "YCbCr")
_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the pixels upright."""
AT_ONCE = 2**22
"""Pixels of an image that are worked on at a time."""


@dataclass(frozen=True)
class Source:
    """The files of one view, and how they are decoded."""

    image: Path
    mask: Path | None = None
    """The mask file, None where there is none; ``meaning`` says what it shows."""
    listed_in: Path | None = None
    """The file that names the image, for the error message where the image is missing."""
    warp: Undistortion | None = None
    """The distortion that is removed from image and mask; None for a pin-hole image."""
    turn: bool | None = None
    """Whether to apply an EXIF orientation other than upright. None refuses such an image as ambiguous."""
    meaning: str = OBJECT
    """What the masks of the scene say: `OBJECT`, `IGNORE` or `IGNORE_WHITE`. Beside the last two, alpha is no mask."""

    @property
    def ignores(self) -> bool:
        """Whether there is a mask, and it says which pixels to ignore."""
        return self.mask is not None and self.meaning != OBJECT


@dataclass(frozen=True)
class Header:
    """The size of a view in pixels and whether it has alpha, read without decoding the pixels."""

    height: int
    width: int
    alpha: bool


def read_header(source: Source) -> Header:
    """The size of a view, after EXIF orientation and undistortion, and whether it has alpha.

    Raises:
        FileNotFoundError: there is no such image or mask.
        ValueError: the file is no image; its EXIF orientation is not upright and ``source.turn`` does not say what
            to do (the cameras may be for the stored or for the shown pixels); the mask has another size.
    """
    with _open(source.image, source.listed_in) as image:
        turned = orientation(image)
        if turned != 1 and source.turn is None:
            raise InputError(
                f"{source.image} is stored turned (EXIF orientation {turned}), so its pixel grid is "
                "ambiguous: write the pixels upright, as the camera poses mean them, and drop the tag "
                "(exiftool -Orientation= keeps the pixels, mogrify -auto-orient turns them)"
            )
        if image.mode not in _COLOUR_MODES:
            raise InputError(
                f"{source.image} has pixels of mode {image.mode}; expected grey, RGB, RGBA or CMYK of 8 or 16 "
                "bits: convert it"
            )
        size = (image.width, image.height)[:: -1 if turned >= 5 and source.turn else 1]
        header = Header(size[1], size[0], has_alpha(image))
    if source.mask is not None:
        with _open(source.mask, None, "mask") as mask:
            if (mask.height, mask.width) != (header.height, header.width):
                raise InputError(
                    f"mask {source.mask} is {mask.width}x{mask.height}, its image {source.image} is "
                    f"{header.width}x{header.height}: masks and images must have one size "
                    "(dataset.masks=false does without masks)"
                )
    if source.warp is None:
        return header
    lens = source.warp.lens
    if (lens.width, lens.height) != size:
        raise InputError(
            f"{source.image} is {size[0]}x{size[1]}, its lens was planned for {lens.width}x{lens.height}"
        )
    return Header(source.warp.height, source.warp.width, header.alpha)


def read_size(path: Path, listed_in: Path | None = None) -> tuple[int, int, int]:
    """Width and height of an image as it is stored, and its EXIF orientation (1 is upright).

    Raises:
        FileNotFoundError, ValueError: as `read_header`.
    """
    with _open(path, listed_in) as image:
        return image.width, image.height, orientation(image)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where there is none, or none that can be read."""
    # without an EXIF block, Pillow would decode a whole png to search for one at its end; a TIFF it turns itself
    found = exif_values(image).get(_ORIENTATION) if "exif" in image.info else 1
    return found if isinstance(found, int) and 1 < found <= 8 else 1


def upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation shows it."""
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def decode(source: Source, with_mask: bool, downscale: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode a view: straight (not premultiplied) colour, and a mask as fourth channel with ``with_mask``.

    The mask is the mask file, else the alpha, else 255 everywhere. Of 16 bits the high byte is kept. A pixel of the
    result is the mean of ``downscale`` x ``downscale`` pixels; rows and columns left over at the bottom and the
    right are dropped. Colours with alpha are averaged premultiplied, so that invisible pixels do not bleed in.
    With a mask file the photograph is visible everywhere, and its colours are averaged as they are. Of a mask of
    pixels to ignore, 255 means that none of the pixels that made this one is to be ignored, else it is 0.

    Beside the image as Pillow decodes it and the result, `AT_ONCE` pixels are in memory.

    Raises:
        FileNotFoundError: there is no such image or mask.
        InputError: the image or mask is damaged or too large.
    """
    image = _pixels(source.image)
    if source.turn:
        image = upright(image)
    mask = _pixels(source.mask) if with_mask and source.mask else None
    if mask is not None and mask.size != image.size:
        raise InputError(f"mask {source.mask} has {mask.size} pixels, its image {source.image} {image.size}")
    scale = 1 if mask is None else _mask_scale(mask)
    if source.warp is not None:
        return _view(image, mask, scale, source, with_mask, downscale)
    w, h = image.size
    rows = max(1, AT_ONCE // (w * downscale)) * downscale
    out = np.empty((h // downscale, w // downscale, 4 if with_mask else 3), np.uint8)
    for top in range(0, len(out) * downscale, rows):
        box = (0, top, w, min(top + rows, len(out) * downscale))
        part = image if box == (0, 0, w, h) else image.crop(box)
        cover = mask if mask is None or part is image else mask.crop(box)
        done = _view(part, cover, scale, source, with_mask, downscale)
        out[top // downscale : top // downscale + len(done)] = done
    return out


def _view(
    image: Image.Image,
    mask_image: Image.Image | None,
    scale: float,
    source: Source,
    with_mask: bool,
    downscale: int,
) -> np.ndarray:
    """The pixels of a view, or of some rows of it."""
    alpha_is_mask = with_mask and source.mask is None and source.meaning == OBJECT
    colour, alpha = _colour(image)
    if not with_mask:
        return shrink(_straight(colour, source, False), downscale)
    mask = alpha if alpha_is_mask else None if mask_image is None else _mask(mask_image, scale)
    if mask is None:
        mask = np.full(colour.shape[:2], 255, np.uint8)
    if source.ignores:
        return _with_kept(np.dstack([colour, _kept(mask, source.meaning)]), source, downscale)
    pixels = _straight(np.dstack([colour, mask]), source, alpha_is_mask)
    return shrink(pixels, downscale, premultiply=alpha_is_mask)


def _kept(mask: UInt8[np.ndarray, "h w"], meaning: str) -> UInt8[np.ndarray, "h w"]:
    """255 where a pixel is kept, 0 where it is to be ignored; grey counts by its half."""
    return np.where((mask > 127) == (meaning == IGNORE), np.uint8(255), np.uint8(0))


def _with_kept(pixels: UInt8[np.ndarray, "h w 4"], source: Source, downscale: int) -> np.ndarray:
    """Undistorted and shrunk colours; a pixel is kept if all of those are that it is made of."""
    pixels = _straight(pixels, source, False)
    kept = np.where(pixels[..., 3] == 255, np.uint8(255), np.uint8(0))
    small = shrink(pixels[..., :3], downscale)
    h, w = small.shape[:2]
    boxes = kept[: h * downscale, : w * downscale].reshape(h, downscale, w, downscale)
    return np.dstack([small, boxes.min((1, 3))])


def _straight(pixels: UInt8[np.ndarray, "h w c"], source: Source, premultiply: bool) -> np.ndarray:
    return pixels if source.warp is None else undistort.apply(pixels, source.warp, premultiply)


def read_mask(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Decode a mask file: 0 to 255, the largest of its colour channels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no image or is damaged.
    """
    image = _pixels(path)
    return _mask(image, _mask_scale(image))


def shrink(
    pixels: UInt8[np.ndarray, "h w c"], factor: int, premultiply: bool = False
) -> UInt8[np.ndarray, "h2 w2 c"]:
    """The mean over boxes of factor x factor pixels; with ``premultiply`` weighted by the fourth channel."""
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


def _open(path: Path, listed_in: Path | None, what: str = "image") -> Image.Image:
    if not path.is_file():
        listed = f", which {listed_in} lists" if listed_in is not None else ""
        without = ". dataset.masks=false does without masks" if what == "mask" else ""
        raise FileNotFoundError(
            f"no {what} {path}{listed}: the data set is incomplete or its paths are wrong{without}"
        )
    try:
        return open_image(path)
    except TooLarge as error:
        raise InputError(
            f"{error}; dataset.downscale does not help, as all of it is decoded first"
        ) from error
    except UNREADABLE as error:
        raise InputError(_unreadable(path, error)) from error


def _pixels(path: Path) -> Image.Image:
    """The decoded image, of a mode that `_colour` knows."""
    image = _open(path, None)
    try:
        with image:
            image.load()
            if image.mode in ("P", "PA"):
                return image.convert("RGBA" if has_alpha(image) else "RGB")
    except UNREADABLE as error:
        raise InputError(_unreadable(path, error)) from error
    if image.mode == "I" and (found := _extremes(image)) and not 0 <= found[0] <= found[1] < 2**16:
        raise InputError(
            f"{path} has pixels from {found[0]} to {found[1]} in 32 bits, where 16 bits (0 to 65535) are read: "
            "convert it"
        )
    return image


def _unreadable(path: Path, error: BaseException) -> str:
    return (
        f"cannot decode image {path} ({path.stat().st_size} bytes): {error}. "
        f"It is damaged, was cut off, or is none of {', '.join(FORMATS)} and OpenEXR: copy it again"
    )


def has_alpha(image: Image.Image) -> bool:
    """Whether an image has an alpha channel, or a transparent colour."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _colour(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    if image.mode.startswith("I"):
        grey = _high_byte(image)
        return np.dstack([grey] * 3), None
    if not has_alpha(image):
        return np.asarray(image.convert("RGB")), None
    rgba = np.asarray(image.convert("RGBA"))
    return rgba[..., :3], rgba[..., 3]


def _mask(image: Image.Image, scale: float) -> np.ndarray:
    grey = np.asarray(image) if image.mode in _GREY else np.asarray(image.convert("RGB")).max(-1)
    return grey if scale == 1 and grey.dtype == np.uint8 else (grey * scale).astype(np.uint8)


def _mask_scale(image: Image.Image) -> float:
    """What the values of a mask are multiplied with: some data sets write 0 and 1, or 8 bits into 16."""
    most = _extremes(image)[1]
    return 255 if most == 1 else 1 if most <= 255 else 1 / 256


def _extremes(image: Image.Image) -> tuple[int, int]:
    """The smallest and the largest value of all colour channels."""
    found: Any = (image if image.mode in (*_GREY, "RGB") else image.convert("RGB")).getextrema()
    pairs = found if isinstance(found[0], tuple) else (found,)
    return int(min(low for low, _ in pairs)), int(max(high for _, high in pairs))


def _high_byte(image: Image.Image) -> np.ndarray:
    return (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
