"""Renders on disk against photographs: pairing, alpha, masks, and the numbers of scikit-image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from isosweep.evaluation import external_images
from isosweep.evaluation.external_images import ImageSettings

PLAIN = ImageSettings(lpips=None)


def picture(seed: int, hw: tuple[int, int] = (40, 56), noise: float = 0.0) -> np.ndarray:
    """Smooth bytes, and the same with noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
    smooth = np.asarray(small.resize(hw[::-1], Image.Resampling.BICUBIC)).astype(float)
    return (smooth + noise * rng.normal(size=smooth.shape)).clip(0, 255).round().astype(np.uint8)


def save(folder: Path, images: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        Image.fromarray(image).save(folder / name)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    truth = {f"{i}.png": picture(i) for i in (2, 10)}
    renders = {f"{i}.png": picture(i, noise=12.0) for i in (2, 10)}
    return save(tmp_path / "renders", renders), save(tmp_path / "truth", truth)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """scikit-image leaves a border of half a window out of its mean; mirrored by hand, that is all pixels."""
    a, b = (np.pad(image, ((5, 5), (5, 5), (0, 0)), mode="reflect") for image in (a, b))
    return structural_similarity(
        a / 255,
        b / 255,
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


def test_psnr_and_ssim_are_scikit_images(folders: tuple[Path, Path]) -> None:
    """The same 11x11 Gaussian window (sigma 1.5 cut at 3.5 sigma is 11), data range 1."""
    renders, truth = folders
    scores = external_images.image_scores(renders, truth, None, PLAIN)
    assert scores.protocol == "images"
    for name in ("2.png", "10.png"):
        a, b = (np.asarray(Image.open(folder / name)).astype(float) for folder in folders)
        assert scores.per_view["nvs/psnr"][name] == pytest.approx(
            peak_signal_noise_ratio(b / 255, a / 255, data_range=1.0), abs=1e-4
        )
        assert scores.per_view["nvs/ssim"][name] == pytest.approx(ssim(a, b), abs=2e-5)
    for name, views in scores.per_view.items():
        assert list(views) == ["2.png", "10.png"]
        assert scores.values[name] == pytest.approx(np.mean(list(views.values())), rel=1e-9)
    assert scores.settings["quantise"] is True
    assert scores.settings["paired_by"] == "name"


def test_a_constant_offset_has_the_psnr_of_the_formula(tmp_path: Path) -> None:
    flat = np.full((20, 30, 3), 100, np.uint8)
    renders, truth = (
        save(tmp_path / "a", {"v.png": flat + np.uint8(10)}),
        save(tmp_path / "b", {"v.png": flat}),
    )
    scores = external_images.image_scores(renders, truth, None, PLAIN)
    assert scores.values["nvs/psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-4)
    how = ImageSettings(lpips=None, views="train_view")
    assert set(external_images.image_scores(renders, truth, None, how).values) == {
        "train_view/psnr",
        "train_view/ssim",
    }


def test_names_pair_by_stem_else_by_place_with_numbers_as_numbers(tmp_path: Path) -> None:
    truth = save(tmp_path / "truth", {f"rect_{i}.jpg": picture(i) for i in (2, 10, 1)})
    same = save(tmp_path / "same", {f"rect_{i}.png": picture(i) for i in (2, 10, 1)})
    views, how = external_images.pair(same, truth, None)
    assert [(v.name, v.render.name) for v in views] == [
        (f"rect_{i}.jpg", f"rect_{i}.png") for i in (1, 2, 10)
    ]
    assert how == "name"
    other = save(tmp_path / "other", {f"{i:05d}.png": picture(i) for i in range(3)})
    views, how = external_images.pair(other, truth, None)
    assert [v.render.name for v in views] == ["00000.png", "00001.png", "00002.png"]
    assert how == "place in the sorted list"


def test_extra_files_are_refused_or_ignored_by_pattern(folders: tuple[Path, Path]) -> None:
    renders, truth = folders
    save(truth, {"2_depth_0000.png": picture(0), "10_depth_0000.png": picture(0)})
    with pytest.raises(ValueError, match=r"no render for 2_depth_0000\.png, 10_depth_0000\.png.*--ignore"):
        external_images.pair(renders, truth, None)
    how = ImageSettings(lpips=None, ignore=("*_depth_*",))
    assert len(external_images.image_scores(renders, truth, None, how).per_view["nvs/psnr"]) == 2
    with pytest.raises(FileNotFoundError, match="nothing but 4 ignored files"):
        external_images.pair(renders, truth, None, ["*.png"])
    (renders / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"holds notes\.txt, which is not an image .*--ignore"):
        external_images.pair(renders, truth, None, ["*_depth_*"])
    external_images.pair(renders, truth, None, ["*_depth_*", "*.txt"])


def test_missing_doubled_and_broken_files_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    renders, truth = folders
    with pytest.raises(FileNotFoundError, match=r"no folder of images at .*gone"):
        external_images.pair(tmp_path / "gone", truth, None)
    save(renders, {"2.jpg": picture(2)})
    with pytest.raises(ValueError, match="several images called 2: keep one"):
        external_images.pair(renders, truth, None)
    (renders / "2.jpg").unlink()
    (renders / "2.png").unlink()
    with pytest.raises(ValueError, match=r"2 images and .* 1 renders, .*no render for 2\.png"):
        external_images.pair(renders, truth, None)
    save(renders, {"2.png": picture(2, (40, 55))})
    with pytest.raises(ValueError, match=r"2\.png is 55x40, its truth .* is 56x40: render at the size"):
        external_images.image_scores(renders, truth, None, PLAIN)
    (renders / "2.png").write_bytes((truth / "2.png").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cannot decode image .*2\.png .*damaged, was cut off"):
        external_images.image_scores(renders, truth, None, PLAIN)


def with_alpha(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([image, alpha])


def test_alpha_needs_a_background_and_is_composited_and_masks(tmp_path: Path) -> None:
    alpha = np.zeros((40, 56), np.uint8)
    alpha[8:30, 10:40] = 255
    alpha[8, 10:40] = 51
    colour, off = picture(3), picture(3, noise=9.0)
    truth = save(tmp_path / "truth", {"v.png": with_alpha(colour, alpha)})
    part = alpha[..., None] / 255
    for name, behind in (("white", 255.0), ("black", 0.0)):
        on = np.rint(off * part + behind * (1 - part)).astype(np.uint8)
        real = colour * part + behind * (1 - part)
        expected = -10 * np.log10(np.mean((on / 255 - real / 255) ** 2))
        inside = alpha > 127
        masked = -10 * np.log10(np.mean((on[inside] / 255 - real[inside] / 255) ** 2))
        how = ImageSettings(lpips=None, background=name)
        for render in (with_alpha(off, alpha), on):  # composited here, or by whoever rendered it
            renders = save(tmp_path / "renders", {"v.png": render})
            scores = external_images.image_scores(renders, truth, None, how)
            assert scores.values["nvs/psnr"] == pytest.approx(expected, abs=1e-3)
            assert scores.values["nvs/psnr_masked"] == pytest.approx(masked, abs=1e-3)
            assert scores.settings["background"] == [behind / 255] * 3
            assert scores.settings["masked_by"] == "alpha"
    with pytest.raises(ValueError, match=r"v\.png has alpha: say what lies behind it with --background"):
        external_images.image_scores(renders, truth, None, PLAIN)
    with pytest.raises(ValueError, match="background 'grey' is none of white, black"):
        external_images.image_scores(renders, truth, None, ImageSettings(background="grey"))


def test_masks_score_the_foreground_and_hide_the_photographs_rest(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    renders, truth = folders
    mask = np.zeros((40, 56), np.uint8)
    mask[10:30, 15:45] = 255
    masks = save(tmp_path / "masks", {"2.png": mask, "10.png": mask})
    scores = external_images.image_scores(renders, truth, masks, PLAIN)
    a, b = (np.asarray(Image.open(folder / "2.png")).astype(float) / 255 for folder in folders)
    assert scores.per_view["nvs/psnr_masked"]["2.png"] == pytest.approx(
        -10 * np.log10(np.mean((a - b)[mask > 0] ** 2)), abs=1e-3
    )
    plain = external_images.image_scores(renders, truth, None, PLAIN)
    assert scores.values["nvs/psnr"] == plain.values["nvs/psnr"]
    black = external_images.image_scores(renders, truth, masks, ImageSettings(lpips=None, background="black"))
    hidden = np.where(mask[..., None] > 0, b, 0.0)
    assert black.per_view["nvs/psnr"]["2.png"] == pytest.approx(
        -10 * np.log10(np.mean((a - hidden) ** 2)), abs=1e-3
    )
    save(masks, {"2.png": mask[:30]})
    with pytest.raises(ValueError, match=r"mask .*2\.png is 56x30, its image .* is 56x40"):
        external_images.image_scores(renders, truth, masks, PLAIN)
    save(masks, {"2.png": 0 * mask})
    empty = external_images.image_scores(renders, truth, masks, PLAIN)
    assert empty.per_view["nvs/psnr_masked"]["2.png"] is None
    assert "1 of 2 views left out; view '2.png'" in empty.reasons["nvs/psnr_masked"]


def test_a_crop_cuts_every_side_and_has_to_leave_something(folders: tuple[Path, Path]) -> None:
    renders, truth = folders
    scores = external_images.image_scores(renders, truth, None, ImageSettings(lpips=None, crop=5))
    a, b = (np.asarray(Image.open(folder / "2.png"))[5:-5, 5:-5].astype(float) for folder in folders)
    assert scores.per_view["nvs/ssim"]["2.png"] == pytest.approx(ssim(a, b), abs=2e-5)
    with pytest.raises(ValueError, match="crop of 20 pixels a side leaves nothing"):
        external_images.image_scores(renders, truth, None, ImageSettings(lpips=None, crop=20))
    with pytest.raises(ValueError, match="views 'test' is none of nvs, train_view"):
        external_images.image_scores(renders, truth, None, ImageSettings(views="test"))


def test_a_background_behind_nothing_is_not_noted(folders: tuple[Path, Path]) -> None:
    """Neither masks nor alpha: nothing was composited, whatever background was given."""
    notes = external_images.image_scores(*folders, None, replace(PLAIN, background="white")).settings
    assert (notes["composite"], notes["background"], notes["masked_by"]) == (False, None, None)
