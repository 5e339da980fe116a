"""Masks from a folder, a colour, alpha and a model; masks that do not fit are refused with a reason."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from isosweep.prepare.masks import find_mask, foreground_by_color, make_masks, parse_masks

PHOTOS = [("a.jpg", "A.JPG"), ("b.jpg", "B.JPG")]


def images(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    pixels = np.full((60, 80, 3), 255, np.uint8)
    pixels[20:40, 30:50] = (200, 30, 30)
    pixels[28:32, 38:42] = 255  # white within the object
    for name, _ in PHOTOS:
        Image.fromarray(pixels).save(folder / "images" / name, quality=95)
    return folder / "images"


def made(tmp_path: Path, text: str, any_alpha: bool = False) -> tuple[list[str], np.ndarray]:
    folder = images(tmp_path / "in")
    choice = parse_masks(text, len(PHOTOS) * any_alpha, len(PHOTOS))
    without = make_masks(
        choice,
        PHOTOS,
        folder,
        tmp_path / "alpha",
        tmp_path / "out",
        2,
        lambda: None,
    )
    return without, np.asarray(Image.open(tmp_path / "out" / "a.png"))


def test_background_colour_keeps_what_it_encloses(tmp_path: Path) -> None:
    _, mask = made(tmp_path, "color:ffffff:30")
    assert mask.shape == (60, 80)
    assert mask[30, 40] == 255
    assert mask[5, 5] == 0
    assert 0.9 < (mask > 0).sum() / 400 < 1.3


def test_a_colour_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no pixel at the border .* within 16 of #00ff00"):
        made(tmp_path, "color:00ff00")


def test_enclosed_background_is_foreground() -> None:
    pixels = np.zeros((9, 9, 3), np.uint8)
    pixels[2:7, 2:7] = 200
    pixels[4, 4] = 0
    assert (foreground_by_color(pixels, (0, 0, 0), 4) > 0).sum() == 25


def test_masks_of_a_folder_are_found_by_name_and_scaled(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    half = np.zeros((30, 40), np.uint8)
    half[10:20, 15:25] = 1  # some write 0 and 1
    Image.fromarray(half).save(given / "A.JPG.png")
    without, mask = made(tmp_path, str(given))
    assert without == ["B.JPG"]
    assert mask.shape == (60, 80)
    assert mask[30, 40] == 255
    assert mask[5, 5] == 0
    assert np.asarray(Image.open(tmp_path / "out" / "b.png")).min() == 255
    for name in ("c.png", "mask_d.jpg", "e_mask.png", "f.JPG.png"):
        Image.fromarray(half).save(given / name)
    assert [find_mask(given, f"{s}.JPG") for s in "cdef"] == [
        given / "c.png", given / "mask_d.jpg", given / "e_mask.png", given / "f.JPG.png",
    ]  # fmt: skip


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    with pytest.raises(ValueError, match=r"no mask for any of 2 photographs.*sought A.png, A.JPG.png"):
        made(tmp_path, str(given))
    Image.new("L", (60, 80), 255).save(given / "A.png")
    with pytest.raises(ValueError, match=r"A.png is 60x80, its photograph 80x60.*was one of them turned"):
        made(tmp_path / "again", str(given))
    for text, error in (
        ("alpha", "no photograph has transparent pixels"),
        ("color:red", "six hex digits"),
        ("nowhere", "no such folder, and none of auto"),
        ("model:nowhere.pt", "TorchScript"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=error):
            parse_masks(text, 0, 3)


class Reddish(torch.nn.Module):
    """A network whose foreground is red, on input that is normalised as for ImageNet."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logit = 10 * (x[:, :1] - x[:, 1:2] - 1.0)
        return logit, logit


def test_a_model_of_the_user_masks(tmp_path: Path) -> None:
    torch.jit.script(Reddish()).save(str(tmp_path / "net.pt"))
    _, mask = made(tmp_path, f"model:{tmp_path / 'net.pt'}")
    assert mask[24, 34] == 255
    assert mask[5, 5] == 0
    (tmp_path / "bad.pt").write_bytes(b"no model")
    with pytest.raises(ValueError, match="is no TorchScript file"):
        made(tmp_path / "again", f"model:{tmp_path / 'bad.pt'}")


def test_one_transparent_picture_among_photographs_masks_none() -> None:
    assert [parse_masks("auto", k, 8).kind for k in (0, 1, 3, 4, 8)] == [
        "none",
        "none",
        "none",
        "alpha",
        "alpha",
    ]
    assert parse_masks("alpha", 1, 8).kind == "alpha"
