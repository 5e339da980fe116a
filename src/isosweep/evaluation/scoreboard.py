"""Scores of views as they come in, their means, and the reasons of those that are missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.evaluation import image_metrics, lpips
from isosweep.evaluation.image_metrics import SSIM_SIGMA, SSIM_WINDOW, Score


@dataclass
class Board:
    per_view: dict[str, dict[str, float | None]] = field(default_factory=dict)
    values: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, view: str, score: Score) -> None:
        """One view's score."""
        self.per_view.setdefault(name, {})[view] = score.value
        if score.reason is not None:
            self.reasons.setdefault(name, f"view '{view}': {score.reason}")

    def put(self, scores: tuple[Mapping[str, float | None], Mapping[str, str]]) -> None:
        """Scores of the whole scene, and reasons."""
        self.values |= scores[0]
        self.reasons |= scores[1]

    def result(self) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
        """Mean over the views that have a score, beside the values put in whole; and the views'."""
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
    """psnr, ssim, lpips_<net>, and with a mask psnr_masked and ssim_masked of one view.

    Args:
        net: backbone of LPIPS, None for no LPIPS.
        where: the device of LPIPS.
    """

    def __init__(self, net: str | None, where: torch.device | str = "cpu") -> None:
        self.net, self.where = net, where
        network, self.why = (None, None) if net is None else lpips.load_lpips(net)
        self.network = None if network is None else network.to(where)

    def __call__(
        self,
        pred: Float[Tensor, "h w 3"],
        truth: Float[Tensor, "h w 3"],
        mask: Float[Tensor, "h w"] | None = None,
    ) -> dict[str, Score]:
        scores = {"psnr": image_metrics.psnr(pred, truth), "ssim": image_metrics.ssim(pred, truth)}
        if self.net is not None:
            scores[f"lpips_{self.net}"] = (
                Score(None, self.why)
                if self.network is None
                else lpips.measure(self.network, pred.to(self.where), truth.to(self.where))
            )
        if mask is not None:
            scores["psnr_masked"] = image_metrics.psnr(pred, truth, mask)
            scores["ssim_masked"] = image_metrics.ssim(pred, truth, mask)
        return scores

    def notes(self) -> dict[str, object]:
        """What makes the numbers comparable, for the record."""
        return {
            "data_range": 1.0,
            "psnr_cap_db": image_metrics.PSNR_CAP,
            "ssim": f"{SSIM_WINDOW}x{SSIM_WINDOW} Gaussian, sigma {SSIM_SIGMA}",
            "lpips_weights": None if self.network is None else self.network.source,
        }
