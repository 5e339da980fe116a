"""Image scores of one view: PSNR and SSIM.

Axes: H, W pixels of a view. Colours are in [0, 1]. A mask holds the coverage of each pixel in [0, 1]; a pixel above one
half is foreground. A score that cannot be computed is None, with the reason.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.errors import InputError

PSNR_CAP = 100.0
"""The PSNR, in dB, of images whose mean squared error is 1e-10 or less.

Identical images have an infinite PSNR, and JSON has no infinity."""
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5


class Score(NamedTuple):
    """A number, or None and the reason."""

    value: float | None
    reason: str | None = None


def quantised(image: Float[Tensor, "h w c"]) -> Float[Tensor, "h w c"]:
    """The image rounded to 8 bits per channel, as if it had been written to a PNG: round(255 clip(c, 0, 1)) / 255."""
    return (image.clamp(0, 1) * 255).round() / 255


def psnr(
    pred: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], mask: Float[Tensor, "h w"] | None = None
) -> Score:
    """Peak signal-to-noise ratio in dB: -10 log10(mean (pred - truth)^2), at most ``PSNR_CAP``; the data range is 1.

    With a mask, the mean is over the pixels whose coverage is above one half. The background does not count, so a plain
    background cannot raise the score. The score is None if the mask has no such pixel.

    Raises:
        InputError: the images differ in size, or the render is not finite.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    check_pair(pred, truth)
    if mask is not None:
        inside = mask > 0.5
        if not inside.any():
            return Score(None, "the mask has no pixel above 0.5")
        pred, truth = pred[inside], truth[inside]
    return Score(min(float(peak_signal_noise_ratio(pred, truth, data_range=1.0)), PSNR_CAP))


def ssim(
    pred: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], mask: Float[Tensor, "h w"] | None = None
) -> Score:
    """Structural similarity in [-1, 1] (Wang et al. 2004): the mean of the SSIM map over all pixels and channels.

      SSIM = (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2)), C1 = 0.01^2, C2 = 0.03^2,
    with means m, variances s^2 and covariance s_xy in an 11x11 Gaussian window of sigma 1.5; the data range is 1.
    Beyond its border the image is continued by reflection (torchmetrics 1.9).

    With a mask, the mean is over the pixels whose coverage is above one half; windows at the silhouette also cover
    background. A mask of ones gives the unmasked score. The score is None if the image is smaller than the window, or
    the mask has no pixel above one half.

    Raises:
        InputError: the images differ in size, or the render is not finite.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    check_pair(pred, truth)
    h, w = pred.shape[:2]
    if min(h, w) < SSIM_WINDOW:
        return Score(None, f"the image is {w}x{h}, smaller than the {SSIM_WINDOW}x{SSIM_WINDOW} window")
    measured = structural_similarity_index_measure(
        pred.permute(2, 0, 1)[None],
        truth.permute(2, 0, 1)[None],
        sigma=SSIM_SIGMA,
        kernel_size=SSIM_WINDOW,
        data_range=1.0,
        return_full_image=True,
    )
    # We take the mean of the map: versions of torchmetrics differ in the border that their own mean leaves out.
    full = measured[1][0]
    if mask is None:
        return Score(float(full.mean()))
    inside = mask > 0.5
    if not inside.any():
        return Score(None, "the mask has no pixel above 0.5")
    return Score(float(full[:, inside].mean()))


def check_pair(pred: Tensor, truth: Tensor) -> None:
    """Check that a render can be compared with an image.

    Raises:
        InputError: they differ in shape, or the render is not finite.
    """
    if pred.shape != truth.shape:
        raise InputError(
            f"a render of {tuple(pred.shape)} cannot be scored against an image of {tuple(truth.shape)}: "
            "render at the size of the image"
        )
    bad = int((~torch.isfinite(pred)).sum())
    if bad:
        raise InputError(
            f"the render has {bad} non-finite values of {pred.numel()}: the checkpoint holds a broken model; "
            "score an earlier one (eval.checkpoint=best) or train again"
        )
