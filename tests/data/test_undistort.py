"""Undistortion: rays through output pixels show what the lens saw there, and nothing from outside."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isosweep.data.decode import Source, decode, read_header
from isosweep.data.image_store import load_images
from isosweep.data.lens import Lens
from isosweep.data.undistort import apply, plan, unproject

LENSES = [
    Lens("SIMPLE_RADIAL", 96, 64, (80, 48, 32, -0.15)),
    Lens("RADIAL", 96, 64, (80, 47.3, 33.1, 0.1, 0.02)),
    Lens("OPENCV", 96, 64, (80, 82, 48, 32, -0.2, 0.05, 0.002, -0.003)),
    Lens("OPENCV_FISHEYE", 96, 64, (50, 50, 48, 32, 0.02, -0.01, 0, 0)),
    Lens("FOV", 96, 64, (50, 50, 48, 32, 0.95)),
    Lens("EUCM", 96, 64, (50, 50, 48, 32, 0.6, 1.1)),
    Lens("DIVISION", 96, 64, (60, 60, 48, 32, -0.2)),
    Lens("FISHEYE", 64, 96, (50, 50, 32, 48)),
]


def smooth(plane: np.ndarray) -> np.ndarray:
    """A colour for every ray that changes slowly."""
    u, v = plane[..., 0], plane[..., 1]
    colour = np.stack(
        [0.5 + 0.4 * np.sin(3 * u), 0.5 + 0.4 * np.cos(4 * v), 0.5 + 0.3 * np.sin(2 * u + 3 * v)], -1
    )
    return np.rint(255 * colour).astype(np.uint8)


def seen_by(lens: Lens) -> np.ndarray:
    """The picture that a lens takes of `smooth`; black where a pixel sees no front ray."""
    col, row = np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5)
    plane = unproject(lens, np.stack([col, row], -1).reshape(-1, 2)).reshape(lens.height, lens.width, 2)
    return np.where(np.isnan(plane[..., :1]), 0, smooth(np.nan_to_num(plane))).astype(np.uint8)


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.model)
def test_unproject_inverts_the_lens(lens: Lens) -> None:
    pixels = np.random.default_rng(0).uniform([0, 0], [lens.width, lens.height], (200, 2))
    plane = unproject(lens, pixels)
    found = ~np.isnan(plane[:, 0])
    assert found.mean() > 0.9
    assert np.abs(lens.project(plane[found]) - pixels[found]).max() < 1e-6


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.model)
def test_an_output_pixel_shows_its_own_ray(lens: Lens) -> None:
    how = plan(lens)
    col, row = np.meshgrid(np.arange(how.width) + 0.5, np.arange(how.height) + 0.5)
    K = how.K
    plane = np.stack([(col - K[0, 2]) / K[0, 0], (row - K[1, 2]) / K[1, 1]], -1)
    found = apply(seen_by(lens), how)
    assert found.shape == (how.height, how.width, 3)
    # the rim is half a pixel of border; a shift of half a pixel shows up as a difference of 3 and more
    off = np.abs(found.astype(int) - smooth(plane))[2:-2, 2:-2]
    assert off.max() <= 4
    assert off.mean() < 0.6


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.model)
def test_nothing_comes_from_outside_and_little_is_lost(lens: Lens) -> None:
    how = plan(lens)
    white = apply(np.full((lens.height, lens.width, 3), 255, np.uint8), how)
    assert (white == 255).all()
    (fx, fy), (cx, cy) = lens.focal, how.centre
    side = np.linspace(0, 1, 41)
    border = np.concatenate([np.stack(e, 1) for e in ((side, 0 * side), (side, 0 * side + 1), (0 * side, side),
                                                      (0 * side + 1, side))])  # fmt: skip
    place = lens.project((border * [how.width, how.height] - [cx, cy]) / [fx, fy])
    margin = np.minimum(place, np.array([lens.width, lens.height]) - place)
    assert margin.min() > -1, "every pixel's ray is in the image"
    assert margin[:41, 1].min() < 2, "the top side touches the image's border"
    assert margin[82:123, 0].min() < 2, "and so does the left one"


def test_a_lens_that_folds_over_is_cut_or_refused() -> None:
    """r (1 - 0.4 r^2) is largest at r = 0.91: rays beyond it never reach the image."""
    how = plan(Lens("SIMPLE_RADIAL", 640, 480, (300, 320, 240, -0.4)))
    reach = np.hypot(how.width / 2, how.height / 2) / 300
    assert 0.8 < reach < 0.92
    with pytest.raises(ValueError, match=r"SIMPLE_RADIAL camera of 640x480 leaves \d+x\d+ pixels"):
        plan(Lens("SIMPLE_RADIAL", 640, 480, (300, 320, 240, -9.0)))


def test_alpha_does_not_bleed() -> None:
    """Green under no alpha beside red: along the edge red stays red."""
    lens = LENSES[0]
    pixels = np.zeros((64, 96, 4), np.uint8)
    pixels[:, :48], pixels[:, 48:] = (255, 0, 0, 255), (0, 255, 0, 0)
    out = apply(pixels, plan(lens), premultiply=True)
    assert (out[out[..., 3] > 0][:, 1] == 0).all()


def test_images_are_undistorted_once_and_again_for_another_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))
    a, b = LENSES[0], Lens("SIMPLE_RADIAL", 96, 64, (80, 48, 32, -0.1))
    Image.fromarray(seen_by(a)).save(tmp_path / "a.png")
    mask = np.zeros((64, 96), np.uint8)
    mask[20:40, 30:60] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    source = Source(tmp_path / "a.png", tmp_path / "m.png", warp=plan(a))
    assert (read_header(source).width, read_header(source).height) == (plan(a).width, plan(a).height)
    store = load_images([source])
    assert np.array_equal((store.image(0)[0] * 255).round().byte().numpy(), apply(seen_by(a), plan(a)))
    # the mask bends with its image
    assert np.array_equal(decode(source, True, 1)[..., 3], apply(np.dstack([mask] * 3), plan(a))[..., 0])
    (file,) = (tmp_path / "cache" / "images").iterdir()
    before = file.stat().st_mtime_ns
    load_images([source])
    assert file.stat().st_mtime_ns == before
    load_images([Source(tmp_path / "a.png", tmp_path / "m.png", warp=plan(b))])
    assert len(list((tmp_path / "cache" / "images").iterdir())) == 2
