"""Image files are opened as one of few formats, whatever their ending says."""

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
