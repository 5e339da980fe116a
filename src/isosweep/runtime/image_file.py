"""The one way in which image files of other people are opened."""

import struct
import zlib
from pathlib import Path

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
"""What a photograph, a mask or a depth map may be.

Of all that Pillow knows, some start other programs: PostScript under the name of a png starts ghostscript.
"""

UNREADABLE = (
    OSError, SyntaxError, EOFError, struct.error, zlib.error, ValueError, IndexError, KeyError, TypeError,
    AttributeError, OverflowError, NotImplementedError, RuntimeError, Image.DecompressionBombError,
)  # fmt: skip
"""Errors that Pillow raises for files that are no image, truncated or damaged, when it opens or decodes them."""


def open_image(path: Path) -> Image.Image:
    """An image file of one of `FORMATS`, whatever its ending says; its pixels are not decoded yet.

    Raises:
        OSError: it is none of them, or cannot be read.
        PIL.Image.DecompressionBombError: it announces more pixels than Pillow allows.
    """
    return Image.open(path, formats=FORMATS)
