"""Folders of photographs: names, orientation, alpha, sizes, and the files that are skipped, each with its reason."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isosweep.prepare.photos import copy_photo, list_photos, read_upright, unique_names


def striped(path: Path, width: int = 96, height: int = 72, **options) -> np.ndarray:
    """A picture that is bright at the top left, which shows how it was turned."""
    pixels = np.full((height, width, 3), 40, np.uint8)
    pixels[: height // 4, : width // 4] = 250
    Image.fromarray(pixels).save(path, **options)
    return pixels


def oriented(path: Path, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    striped(path, quality=95, exif=exif)


def copied(path: Path, tmp_path: Path, size: int = 0, name: str = "a.jpg"):
    for folder in ("images", "alpha"):
        (tmp_path / folder).mkdir(exist_ok=True)
    return copy_photo(path, name, tmp_path / "images", tmp_path / "alpha", size)


@pytest.mark.parametrize(
    ("value", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0)), (2, (0, -1)), (5, (0, 0))]
)
def test_photographs_are_turned_as_their_exif_says(
    tmp_path: Path, value: int, corner: tuple[int, int]
) -> None:
    oriented(tmp_path / "a.jpg", value)
    pixels, _, turned = read_upright(tmp_path / "a.jpg")
    assert pixels.shape[:2] == ((72, 96) if value < 5 else (96, 72))
    assert pixels[corner].min() > 200
    assert turned == (value != 1)
    copied(tmp_path / "a.jpg", tmp_path)
    with Image.open(tmp_path / "images/a.jpg") as image:
        assert image.getexif().get(0x0112, 1) == 1


def test_upright_photographs_are_copied_byte_by_byte(tmp_path: Path) -> None:
    striped(tmp_path / "a.jpg")
    photo = copied(tmp_path / "a.jpg", tmp_path, size=96)
    assert (tmp_path / "images/a.jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()
    assert (photo.width, photo.height, photo.turned, photo.alpha) == (96, 72, False, False)


def test_large_photographs_are_shrunk(tmp_path: Path) -> None:
    striped(tmp_path / "a.jpg", 400, 300)
    photo = copied(tmp_path / "a.jpg", tmp_path, size=200)
    assert (photo.width, photo.height) == (200, 150)


def test_alpha_becomes_a_mask_and_black(tmp_path: Path) -> None:
    rgba = np.full((80, 80, 4), 200, np.uint8)
    rgba[:40, :, 3] = 0
    rgba[40:, :, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    photo = copied(tmp_path / "a.png", tmp_path, name="a.png")
    assert photo.alpha
    assert np.asarray(Image.open(tmp_path / "images/a.png"))[:40].max() == 0
    assert np.asarray(Image.open(tmp_path / "alpha/a.png"))[:40].max() == 0
    assert np.asarray(Image.open(tmp_path / "alpha/a.png"))[40:].min() == 255


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    striped(tmp_path / "whole.jpg", 400, 300)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    striped(tmp_path / "tiny.jpg", 40, 30)
    assert "cannot be read" in copied(tmp_path / "text.jpg", tmp_path)
    assert "truncated" in copied(tmp_path / "cut.jpg", tmp_path)
    assert copied(tmp_path / "tiny.jpg", tmp_path) == "is only 40x30 pixels"


def test_names_have_no_space_and_differ_without_their_ending() -> None:
    files = [Path(n) for n in ("a b.jpg", "a.JPG", "a.png", "A.jpeg", "a_b.tif")]
    assert unique_names(files) == ["a_b.jpg", "a.jpg", "a_2.png", "A_3.jpg", "a_b_2.png"]


def test_folders_without_photographs_say_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give a folder of photographs or a video"):
        list_photos(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"no photographs in .* found notes.txt"):
        list_photos(tmp_path)
    (tmp_path / "inner").mkdir()
    striped(tmp_path / "inner" / "a.jpg")
    with pytest.raises(FileNotFoundError, match="its folders inner have some: give one of them"):
        list_photos(tmp_path)
    (tmp_path / "IMG_1.HEIC").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"IMG_1.HEIC.*HEIC.*convert them to jpg"):
        list_photos(tmp_path)
