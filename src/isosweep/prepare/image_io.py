"""Reading, shrinking and saving images, as every stage does it."""

from pathlib import Path

from PIL import Image

from isosweep.data.decode import Source, decode
from isosweep.runtime.image_file import open_image


def read_rgb(path: Path) -> Image.Image:
    """An image file as RGB."""
    return Image.fromarray(decode(Source(path), False, 1))


def read_grey(path: Path) -> Image.Image:
    """An image file as 8 bit grey, such as a mask."""
    with open_image(path) as image:
        return image.convert("L")


def shrink(image: Image.Image, longest: int) -> Image.Image:
    """The image with its longer side reduced to ``longest`` pixels; itself if it is smaller or ``longest`` is 0."""
    longer = max(image.size)
    if not longest or longer <= longest:
        return image
    w, h = (max(1, round(side * longest / longer)) for side in image.size)
    return image.resize((w, h), Image.Resampling.LANCZOS, reducing_gap=3.0)


def save_image(path: Path, image: Image.Image, quality: int) -> None:
    """Save as png, or as jpg of this quality with colour at full resolution, by the ending of ``path``."""
    if path.suffix == ".png":
        image.save(path, compress_level=3)
    else:
        image.save(path, quality=quality, subsampling=0)
