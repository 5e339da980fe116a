"""Image scores of one view: PSNR, SSIM, normal angle, intersection over union.

Axes: H, W pixels of a view. Colours in [0, 1], masks are coverage in [0, 1] and count as
foreground above one half. A score that cannot be had is None, with the reason.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.errors import InputError

PSNR_CAP = 100.0
"""dB given to images whose mean squared error is 1e-10 or less: identical images have no finite PSNR,
and an infinite number is not JSON."""
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5


class Score(NamedTuple):
    """A number, or None and why."""

    value: float | None
    reason: str | None = None


def quantised(image: Float[Tensor, "h w c"]) -> Float[Tensor, "h w c"]:
    """Rounded to 8 bit and back, as if it had been written to a PNG."""
    return (image.clamp(0, 1) * 255).round() / 255


def psnr(
    pred: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], mask: Float[Tensor, "h w"] | None = None
) -> Score:
    """-10 log10 of the mean squared error, data range 1, at most ``PSNR_CAP`` dB.

    With a mask the mean is over the pixels whose coverage exceeds one half; the background does not
    count at all, so an empty background cannot lift the number.
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
    """Structural similarity: 11x11 Gaussian window, sigma 1.5, data range 1, K = (0.01, 0.03).

    The mean of the map over all pixels and the three channels; the image is continued by reflection
    beyond its border (torchmetrics 1.9). With a mask the mean is over the pixels whose coverage is
    above one half; their windows at the silhouette see the background. A mask of ones gives the
    unmasked score.
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
    # the map and not the mean: which border is averaged differs between versions of torchmetrics
    full = measured[1][0]
    if mask is None:
        return Score(float(full.mean()))
    inside = mask > 0.5
    if not inside.any():
        return Score(None, "the mask has no pixel above 0.5")
    return Score(float(full[:, inside].mean()))


def normal_angle(
    pred: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], mask: Float[Tensor, "h w"] | None = None
) -> Score:
    """Mean angle in degrees between two normal maps, over the mask (all pixels where it is None).

    Neither map needs unit length; pixels where one of them is zero count as 90 degrees, so a render
    without a normal cannot win.
    """
    inside = torch.ones_like(pred[..., 0], dtype=torch.bool) if mask is None else mask > 0.5
    if not inside.any():
        return Score(None, "the mask has no pixel above 0.5")
    p, t = pred[inside].double(), truth[inside].double()
    norm = (p.norm(dim=-1) * t.norm(dim=-1)).clamp_min(1e-12)
    return Score(float(((p * t).sum(-1) / norm).clamp(-1, 1).acos().rad2deg().mean()))


def intersection_over_union(pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"]) -> Score:
    """Of two coverages, each counted as foreground above one half. None where both are empty."""
    p, t = pred > 0.5, truth > 0.5
    union = int((p | t).sum())
    if union == 0:
        return Score(None, "both silhouettes are empty")
    return Score(int((p & t).sum()) / union)


def check_pair(pred: Tensor, truth: Tensor) -> None:
    """Refuse a render of another size than the image, or one that is not finite."""
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
