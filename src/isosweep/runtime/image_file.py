"""The one way in which image files of other people are opened."""

import io
import logging
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from isosweep.errors import InputError
from isosweep.runtime import exr
from isosweep.runtime.limits import MEGAPIXELS

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
"""What a photograph, a mask or a depth map may be.

Of all that Pillow knows, some start other programs: PostScript under the name of a png starts ghostscript.
"""
_DAMAGED_EXIF = (
    SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, ZeroDivisionError,
    EOFError, OSError, struct.error,
)  # fmt: skip
"""What Pillow raises for an EXIF block that is damaged, when it is first looked into."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# open_image refuses what is too large, with a message; a damaged EXIF is ignored
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", "(Corrupt|Possibly corrupt|Truncated).*", UserWarning, r"PIL\.")


class TooLarge(InputError):
    """An image announces more pixels than are decoded."""


UNREADABLE = (
    OSError, SyntaxError, EOFError, struct.error, zlib.error, ValueError, IndexError, KeyError, TypeError,
    AttributeError, OverflowError, NotImplementedError, RuntimeError, Image.DecompressionBombError,
)  # fmt: skip
"""Errors that Pillow raises for files that are no image, truncated or damaged, when it opens or decodes them."""


def open_image(path: Path) -> Image.Image:
    """An image file of one of `FORMATS` or OpenEXR, whatever its ending says; only pixels of the latter are decoded.

    Raises:
        OSError: it is none of them, cannot be read, or holds fewer pixels than it announces.
        TooLarge: it announces more pixels than `isosweep.runtime.limits.MEGAPIXELS`.
    """
    most = MEGAPIXELS.value * 1_000_000
    if not path.is_file() and path.exists():
        raise OSError(f"{path} is no file")  # a pipe would be waited for
    Image.MAX_IMAGE_PIXELS = most  # Pillow itself refuses twice as many, in any library that reads images
    try:
        image = _opened(path)
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        raise _too_large(path, int(found[0]) if found else 2 * most) from error
    if image.width * image.height > most:
        image.close()
        raise _too_large(path, image.width * image.height)
    # Pillow leaves pixels black that no strip of the file holds; the bands of one strip may lie apart
    parts = {extents for _, extents, *_ in getattr(image, "tile", ()) if extents}
    held = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in parts)
    if parts and held < image.width * image.height:
        image.close()
        raise OSError(
            f"its header announces {image.width}x{image.height} pixels, and it holds {held} of them"
        )
    return image


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        # Pillow refuses a whole png for one wrong checksum, also where it is that of a comment
        if exr.is_exr(path):
            width, height = exr.size(path)
            if width * height > MEGAPIXELS.value * 1_000_000:
                raise _too_large(path, width * height) from None
            return exr.read(path)
        if (cleaned := _without_damaged_notes(path)) is None:
            raise
        return Image.open(cleaned, formats=("PNG",))


def _without_damaged_notes(path: Path) -> io.BytesIO | None:
    """A png without those chunks that do not change its pixels and have a wrong checksum; None if it has none."""
    with path.open("rb") as file:
        if file.read(8) != _SIGNATURE:
            return None
        kept, dropped = io.BytesIO(), 0
        kept.write(_SIGNATURE)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            body = file.read(length + 4)
            note = kind[:1].islower() and kind != b"tRNS"
            if note and body[-4:] != struct.pack(">I", zlib.crc32(kind + body[:-4])):
                dropped += 1
                continue
            kept.write(head + body)
    kept.seek(0)
    return kept if dropped else None


def _too_large(path: Path, pixels: float) -> TooLarge:
    megapixels = pixels / 1e6
    return TooLarge(
        f"image {path} announces {megapixels:.0f} megapixels, and at most {MEGAPIXELS.value} are decoded, which take 8 "
        "bytes each: scale it down on disk (magick mogrify -resize 50%), or, if the memory is there, "
        f"{MEGAPIXELS.raised(megapixels)}"
    )


def exif_values(image: Image.Image, ifd: int | None = None) -> dict[int, Any]:
    """The values of an image's EXIF, or of a part of it; none where it is damaged.

    A photograph is no worse for a damaged EXIF block; it is then taken as it is stored.
    """
    try:
        found = image.getexif()
        return dict(found if ifd is None else found.get_ifd(ifd))
    except _DAMAGED_EXIF as error:
        log.info("the EXIF of %s is damaged and ignored (%s)", getattr(image, "filename", "an image"), error)
        return {}
