"""Collect the scores of views, their means, and the reasons of scores that are missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isosweep.evaluation import image_metrics, lpips
from isosweep.evaluation.image_metrics import SSIM_SIGMA, SSIM_WINDOW, Score


@dataclass
class Board:
    """The scores of one evaluation while it runs."""

    per_view: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Score -> view -> value."""
    values: dict[str, float | None] = field(default_factory=dict)
    """Scores of the whole scene, which have no views."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Score -> why it, or a view's value of it, is None."""

    def add(self, name: str, view: str, score: Score) -> None:
        """Add the score ``name`` of one view."""
        self.per_view.setdefault(name, {})[view] = score.value
        if score.reason is not None:
            self.reasons.setdefault(name, f"view '{view}': {score.reason}")

    def put(self, scores: tuple[Mapping[str, float | None], Mapping[str, str]]) -> None:
        """Add scores of the whole scene, and their reasons."""
        self.values |= scores[0]
        self.reasons |= scores[1]

    def result(self) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
        """(values, values of views): each score's mean over the views that have it, and the scores of the whole scene.

        Where some views of a score are missing, its reason says how many.
        """
        means: dict[str, float | None] = {}
        for name, views in self.per_view.items():
            known = [v for v in views.values() if v is not None]
            means[name] = float(np.mean(known)) if known else None
            if known and name in self.reasons:
                self.reasons[name] = (
                    f"{len(views) - len(known)} of {len(views)} views left out; {self.reasons[name]}"
                )
        return means | self.values, self.per_view


class ViewScorer:
    """Scores one view: psnr (dB), ssim, lpips_<net>, and with a mask psnr_masked and ssim_masked.

    ``image_metrics`` and ``lpips`` have the formulas.

    Args:
        net: backbone of LPIPS; None leaves LPIPS out.
        device: where LPIPS computes.
    """

    def __init__(self, net: str | None, device: torch.device | str = "cpu") -> None:
        self.net, self.device = net, device
        network, self.why = (None, None) if net is None else lpips.load_lpips(net)
        self.network = None if network is None else network.to(device)

    def __call__(
        self,
        pred: Float[Tensor, "h w 3"],
        truth: Float[Tensor, "h w 3"],
        mask: Float[Tensor, "h w"] | None = None,
        kept: Bool[Tensor, "h w"] | None = None,
    ) -> dict[str, Score]:
        """The scores of a render [H, W, 3] against an image, both in [0, 1].

        Args:
            mask: of the object, for the masked scores.
            kept: the pixels that are scored; None for all. Windows of SSIM and receptive fields of LPIPS reach into
                ignored pixels: the render has the photograph's own there, so that they add no difference. The maps of
                both are averaged over the kept pixels.

        Raises:
            InputError: they differ in size, or the render is not finite.
        """
        within = None
        if kept is not None:
            image_metrics.check_pair(pred, truth)
            if not bool(kept.any()):
                return self._unscored("every pixel is to be ignored")
            pred, within = torch.where(kept[..., None], pred, truth), kept.float()
        scores = {
            "psnr": image_metrics.psnr(pred, truth, within),
            "ssim": image_metrics.ssim(pred, truth, within),
        }
        if self.net is not None:
            scores[f"lpips_{self.net}"] = (
                Score(None, self.why)
                if self.network is None
                else lpips.measure(
                    self.network,
                    pred.to(self.device),
                    truth.to(self.device),
                    None if within is None else within.to(self.device),
                )
            )
        if mask is not None:
            scores["psnr_masked"] = image_metrics.psnr(pred, truth, mask)
            scores["ssim_masked"] = image_metrics.ssim(pred, truth, mask)
        return scores

    def _unscored(self, why: str) -> dict[str, Score]:
        names = ["psnr", "ssim", *([f"lpips_{self.net}"] if self.net is not None else [])]
        return dict.fromkeys(names, Score(None, why))

    def notes(self) -> dict[str, object]:
        """The settings that make the numbers comparable, for the record."""
        return {
            "data_range": 1.0,
            "psnr_cap_db": image_metrics.PSNR_CAP,
            "ssim": f"{SSIM_WINDOW}x{SSIM_WINDOW} Gaussian, sigma {SSIM_SIGMA}",
            "lpips_weights": None if self.network is None else self.network.source,
        }
