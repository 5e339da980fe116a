"""Image scores against hand-worked numbers and torchmetrics' own module."""

import math

import pytest
import torch

from isosweep.evaluation import image_metrics


def pair(h: int = 24, w: int = 30, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    truth = torch.rand(h, w, 3, generator=g)
    return (truth + 0.1 * torch.randn(h, w, 3, generator=g)).clamp(0, 1), truth


def test_psnr_by_hand() -> None:
    truth = torch.full((4, 5, 3), 0.5)
    assert image_metrics.psnr(truth + 0.1, truth).value == pytest.approx(20.0, abs=1e-4)
    half = truth.clone()
    half[:, :, 0] += 0.1  # one channel of three: mse = 0.01 / 3
    assert image_metrics.psnr(half, truth).value == pytest.approx(20 + 10 * math.log10(3), abs=1e-4)


def test_psnr_of_identical_images_is_the_cap_and_not_infinite() -> None:
    truth = torch.rand(4, 4, 3)
    assert image_metrics.psnr(truth, truth).value == image_metrics.PSNR_CAP == 100.0
    assert image_metrics.psnr(truth + 1e-7, truth).value == 100.0


def test_masked_psnr_ignores_the_background() -> None:
    truth = torch.zeros(6, 6, 3)
    pred = torch.ones(6, 6, 3)
    mask = torch.zeros(6, 6)
    mask[2:4, 2:4] = 1.0
    pred[2:4, 2:4] = 0.1
    assert image_metrics.psnr(pred, truth, mask).value == pytest.approx(20.0, abs=1e-4)
    assert image_metrics.psnr(pred, truth).value == pytest.approx(
        -10 * math.log10((32 + 4 * 0.01) / 36), abs=1e-4
    )


def test_masked_scores_of_an_empty_mask_are_none_with_a_reason() -> None:
    pred, truth = pair()
    empty = torch.full((24, 30), 0.5)
    assert image_metrics.psnr(pred, truth, empty) == (None, "the mask has no pixel above 0.5")
    assert image_metrics.ssim(pred, truth, empty) == (None, "the mask has no pixel above 0.5")


def test_ssim_is_torchmetrics_module_at_data_range_one() -> None:
    from torchmetrics.image import StructuralSimilarityIndexMeasure

    pred, truth = pair()
    low = (0.2 * pred, 0.2 * truth)  # a range of 0.2: an inferred data range would give another number
    for a, b in ((pred, truth), low):
        module = StructuralSimilarityIndexMeasure(data_range=1.0, kernel_size=11, sigma=1.5)
        expected = float(module(a.permute(2, 0, 1)[None], b.permute(2, 0, 1)[None]))
        assert image_metrics.ssim(a, b).value == pytest.approx(expected, abs=1e-6)
        assert image_metrics.ssim(a, b, torch.ones(24, 30)).value == pytest.approx(expected, abs=1e-6)
    assert image_metrics.ssim(truth, truth).value == pytest.approx(1.0, abs=1e-6)


def test_ssim_of_one_window_by_the_formula() -> None:
    pred, truth = pair(11, 11, seed=3)
    x = torch.arange(11.0) - 5
    g = torch.exp(-(x**2) / (2 * 1.5**2))
    window = torch.outer(g / g.sum(), g / g.sum())[..., None]

    def mean(v: torch.Tensor) -> torch.Tensor:
        return (window * v).sum((0, 1))

    mu_p, mu_t = mean(pred), mean(truth)
    var_p, var_t = mean(pred**2) - mu_p**2, mean(truth**2) - mu_t**2
    cov = mean(pred * truth) - mu_p * mu_t
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mu_p * mu_t + c1) * (2 * cov + c2) / ((mu_p**2 + mu_t**2 + c1) * (var_p + var_t + c2))
    centre = torch.zeros(11, 11)
    centre[5, 5] = 1.0
    assert image_metrics.ssim(pred, truth, centre).value == pytest.approx(float(value.mean()), abs=1e-5)


def test_masked_ssim_sees_only_windows_centred_in_the_mask() -> None:
    truth = pair(40, 40)[1]
    pred = truth.clone()
    pred[:, 20:] = 0.0
    mask = torch.zeros(40, 40)
    mask[:, :14] = 1.0  # centres up to column 13, windows up to column 18: untouched
    assert image_metrics.ssim(pred, truth, mask).value == pytest.approx(1.0, abs=1e-6)
    assert image_metrics.ssim(pred, truth).value < 0.7


def test_an_image_below_the_window_has_no_ssim() -> None:
    pred, truth = pair(10, 30)
    assert image_metrics.ssim(pred, truth) == (None, "the image is 30x10, smaller than the 11x11 window")


def test_quantised_rounds_to_the_nearest_byte_and_clamps() -> None:
    out = image_metrics.quantised(torch.tensor([[[0.5 / 255 - 1e-4, 0.6 / 255, 1.7]]]))
    torch.testing.assert_close(out, torch.tensor([[[0.0, 1 / 255, 1.0]]]))


def test_sizes_and_broken_renders_are_refused() -> None:
    text = r"a render of \(4, 4, 3\) cannot be scored against an image of \(4, 5, 3\): render at the size"
    with pytest.raises(ValueError, match=text):
        image_metrics.check_pair(torch.zeros(4, 4, 3), torch.zeros(4, 5, 3))
    broken = torch.zeros(12, 12, 3)
    broken[0, 0, 0] = math.nan
    text = r"the render has 1 non-finite values of 432: .*eval\.checkpoint=best"
    with pytest.raises(ValueError, match=text):
        image_metrics.ssim(broken, torch.zeros(12, 12, 3))
