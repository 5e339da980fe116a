"""Image files are opened as one of few formats, whatever their ending says."""

import struct
from pathlib import Path

import pytest
from PIL import Image

from isosweep.data.decode import read_mask
from isosweep.errors import InputError
from isosweep.runtime.image_file import FORMATS, open_image


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_under_any_name(form: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (3, 2), "red").save(path, format=form)
    with open_image(path) as image:
        assert (image.format, image.size) == (form, (3, 2))


@pytest.mark.parametrize("form", ["EPS", "GIF", "PPM", "PDF"])
def test_no_other_is_opened(form: str, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.new("RGB", (3, 2), "red").save(path, format=form)
    with pytest.raises(OSError, match="cannot identify image file"):
        open_image(path)
    with pytest.raises(InputError, match=r"cannot decode image .*mask.png \(\d+ bytes\)"):
        read_mask(path)


@pytest.mark.parametrize("rows", [6, 7, 12_910_598])
def test_an_image_that_holds_fewer_pixels_than_it_announces(rows: int, tmp_path: Path) -> None:
    """Pillow reads the strips that are there and leaves the rest black."""
    path = tmp_path / "tall.tif"
    Image.new("RGB", (8, 6), (9, 9, 9)).save(path)
    length = struct.pack("<HHII", 257, 4, 1, 6)  # the tag ImageLength
    assert path.read_bytes().count(length) == 1
    path.write_bytes(path.read_bytes().replace(length, struct.pack("<HHII", 257, 4, 1, rows)))
    if rows == 6:
        assert open_image(path).size == (8, 6)
        return
    with pytest.raises(OSError, match=rf"announces 8x{rows} pixels, and it holds 48 of them"):
        open_image(path)
