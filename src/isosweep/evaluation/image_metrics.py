"""Image scores of one view: PSNR and SSIM.

Axes: H, W pixels of a view. Colours are in [0, 1]. A mask holds the coverage of each pixel in [0, 1]; a pixel above one
half is foreground. A score that cannot be computed is None, with the reason.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from isosweep.errors import InputError

PSNR_CAP = 100.0
"""The PSNR, in dB, of images whose mean squared error is 1e-10 or less.

Identical images have an infinite PSNR, and JSON has no infinity."""
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


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
    check_pair(pred, truth)
    if mask is not None:
        inside = mask > 0.5
        if not inside.any():
            return Score(None, "the mask has no pixel above 0.5")
        pred, truth = pred[inside], truth[inside]
    return Score(min(-10 * float((pred - truth).square().mean().log10()), PSNR_CAP))


def ssim(
    pred: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], mask: Float[Tensor, "h w"] | None = None
) -> Score:
    """Structural similarity in [-1, 1] (Wang et al. 2004): the mean of the SSIM map over all pixels and channels.

      SSIM = (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2)), C1 = 0.01^2, C2 = 0.03^2,
    with means m, variances s^2 and covariance s_xy in an 11x11 Gaussian window of sigma 1.5; the data range is 1.
    Beyond its border the image is continued by reflection; rounding cannot make a variance negative. Both as in
    torchmetrics 1.9, whose import takes as long as that of torch.

    With a mask, the mean is over the pixels whose coverage is above one half; windows at the silhouette also cover
    background. A mask of ones gives the unmasked score. The score is None if the image is smaller than the window, or
    the mask has no pixel above one half.

    Raises:
        InputError: the images differ in size, or the render is not finite.
    """
    check_pair(pred, truth)
    h, w = pred.shape[:2]
    if min(h, w) < SSIM_WINDOW:
        return Score(None, f"the image is {w}x{h}, smaller than the {SSIM_WINDOW}x{SSIM_WINDOW} window")
    x, y = pred.permute(2, 0, 1), truth.permute(2, 0, 1)
    m_x, m_y, xx, yy, xy = windowed(torch.stack([x, y, x * x, y * y, x * y]))
    s_xx, s_yy, s_xy = (xx - m_x * m_x).clamp(min=0), (yy - m_y * m_y).clamp(min=0), xy - m_x * m_y
    full = (2 * m_x * m_y + SSIM_C1) * (2 * s_xy + SSIM_C2)
    full = full / ((m_x * m_x + m_y * m_y + SSIM_C1) * (s_xx + s_yy + SSIM_C2))
    if mask is None:
        return Score(float(full.mean()))
    inside = mask > 0.5
    if not inside.any():
        return Score(None, "the mask has no pixel above 0.5")
    return Score(float(full[:, inside].mean()))


def windowed(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """The mean in the Gaussian window around every pixel; the images are continued by reflection.

    The window is the product of one along each axis: one after the other they take 22 products for a pixel, not 121.
    """
    half = SSIM_WINDOW // 2
    offset = torch.arange(-half, half + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (offset / SSIM_SIGMA) ** 2)
    weights = weights / weights.sum()
    # each image's channels as channels of one image: convolutions with a kernel per channel are the fast ones
    n = images.shape[0] * images.shape[1]
    padded = functional.pad(images.reshape(1, n, *images.shape[2:]), (half, half, half, half), mode="reflect")
    column, row = (
        weights.view(shape).expand(n, *shape) for shape in ((1, SSIM_WINDOW, 1), (1, 1, SSIM_WINDOW))
    )
    means = functional.conv2d(functional.conv2d(padded, column, groups=n), row, groups=n)
    return means.reshape(images.shape)


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
