"""Decodes one image file and its mask to bytes: uint8 [h, w, 3], or [h, w, 4] with the mask as fourth channel."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from isosweep.data import undistort
from isosweep.data.undistort import Undistortion
from isosweep.errors import InputError
from isosweep.runtime.image_file import UNREADABLE, open_image

OBJECT, IGNORE, IGNORE_WHITE = "object", "ignore", "ignore_white"
"""What a mask says: white is the object; black pixels are to be ignored; white pixels are to be ignored."""
_COLOUR_MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "1", "I", "I;16", "I;16B", "I;16L")
_ORIENTATION = 0x0112


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
                f"{source.image} has pixels of mode {image.mode}; expected grey, RGB or RGBA of 8 or 16 bits: "
                "convert it"
            )
        size = (image.width, image.height)[:: -1 if turned >= 5 and source.turn else 1]
        header = Header(size[1], size[0], _has_alpha(image))
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
    """The EXIF orientation, 1 to 8; 1 (upright) where there is none.

    Only images with an EXIF block are asked, because Pillow would decode a whole png to search for one at its end.
    """
    found = image.getexif().get(_ORIENTATION, 1) if "exif" in image.info else 1
    return found if isinstance(found, int) and 1 < found <= 8 else 1


def decode(source: Source, with_mask: bool, downscale: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode a view: straight (not premultiplied) colour, and a mask as fourth channel with ``with_mask``.

    The mask is the mask file, else the alpha, else 255 everywhere. Of 16 bits the high byte is kept. A pixel of the
    result is the mean of ``downscale`` x ``downscale`` pixels; rows and columns left over at the bottom and the
    right are dropped. Colours with alpha are averaged premultiplied, so that invisible pixels do not bleed in.
    With a mask file the photograph is visible everywhere, and its colours are averaged as they are. Of a mask of
    pixels to ignore, 255 means that none of the pixels that made this one is to be ignored, else it is 0.

    Raises:
        FileNotFoundError: there is no such image or mask.
        ValueError: the image or mask is damaged.
    """
    alpha_is_mask = with_mask and source.mask is None and source.meaning == OBJECT
    image = _pixels(source.image)
    colour, alpha = _colour(ImageOps.exif_transpose(image) if source.turn else image)
    if not with_mask:
        return shrink(_straight(colour, source, False), downscale)
    mask = alpha if alpha_is_mask else _mask(_pixels(source.mask)) if source.mask else None
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
    return _mask(_pixels(path))


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
    except UNREADABLE as error:
        raise InputError(_unreadable(path, error)) from error


def _pixels(path: Path) -> Image.Image:
    image = _open(path, None)
    try:
        with image:
            image.load()
            return (
                image.convert("RGBA" if _has_alpha(image) else "RGB") if image.mode in ("P", "PA") else image
            )
    except UNREADABLE as error:
        raise InputError(_unreadable(path, error)) from error


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
    # some data sets write 0 and 1 instead of 0 and 255
    return grey * np.uint8(255) if grey.max() == 1 else grey


def _high_byte(image: Image.Image) -> np.ndarray:
    return (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
