"""The training images as grey pixels on the device, and for each the views that it is compared with.

Axes: V views, K sources of a view, P structure-from-motion points.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from isosweep.data.image_store import ImageStore
from isosweep.errors import InputError
from isosweep.types import Photos, Scene

SOURCES = 9
"""K at most (Geo-NeuS, Fu et al. 2022, section 3.3)."""
BEST_ANGLE, NARROW, WIDE = 5.0, 1.0, 10.0
"""Degrees between two lines of sight that suit best, and the widths of the score below and above them."""


def make_photos(scene: Scene, device: torch.device) -> Photos:
    """The training images of a scene as ``Photos``; other views are black and have no sources.

    Masked images are composited over the scene's background, as the pixels of a batch are. Pixels that masks say to
    ignore are nan.

    Raises:
        InputError: the scene is in normalised device coordinates, or has a single training view.
    """
    if scene.cameras.ndc is not None:
        raise InputError(
            "loss term 'photo' warps patches between cameras, and this scene is in NDC: set dataset.ndc=false"
        )
    train = scene.splits["train"]
    if len(train) < 2:
        raise InputError(
            f"loss term 'photo' compares views, and scene {scene.name} has {len(train)} for training"
        )
    counts = scene.images.hw.prod(-1)
    offsets = counts.cumsum(0) - counts
    grey = torch.zeros(int(counts.sum()), dtype=torch.float16)
    weights = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601
    for view in train:
        rgb, mask = scene.images.image(view)
        if scene.composite and mask is not None:
            rgb = rgb * mask[..., None] + scene.background.cpu() * (1 - mask[..., None])
        shade = (rgb @ weights).half()
        kept = scene.images.kept_image(view) if isinstance(scene.images, ImageStore) else None
        if kept is not None:
            shade[~kept] = math.nan
        start = int(offsets[view])
        grey[start : start + int(counts[view])] = shade.reshape(-1)
    sources = torch.full((len(counts), SOURCES), -1)
    sources[torch.tensor(train)] = _best(_scores(scene), torch.tensor(train))
    return Photos(grey.to(device), offsets.to(device), scene.cameras.to(device), sources.to(device))


def _best(scores: Float[Tensor, "v v"], train: Int[Tensor, " t"]) -> Int[Tensor, "t k"]:
    """The views of the highest positive scores, best first, then -1."""
    among = scores[train][:, train].clone()
    among.fill_diagonal_(0.0)
    value, place = among.topk(min(SOURCES, len(train)), dim=-1)
    found = torch.where(value > 0, train[place], -1)
    return F.pad(found, (0, SOURCES - found.shape[1]), value=-1)


def _scores(scene: Scene) -> Float[Tensor, "v v"]:
    """How well each two views suit one another.

    Where it is known which view sees which point: the sum of ``suits`` over the points that both see, of the angle
    between their lines of sight. Source: Yao et al. 2018 (MVSNet), section 4.1. Otherwise ``suits`` of that
    angle at the scene's origin.
    """
    eyes = scene.cameras.c2w[:, :, 3].cpu().double()
    if scene.points is None or scene.sightings is None:
        sight = F.normalize(eyes, dim=-1)
        return suits(sight @ sight.T)
    n, points = len(eyes), scene.points.cpu().double()
    seen = torch.zeros(n, len(points), dtype=torch.bool)
    view = torch.repeat_interleave(torch.arange(n), scene.sightings.offsets.cpu().diff())
    seen[view, scene.sightings.point.cpu()] = True
    scores = torch.zeros(n, n, dtype=torch.float64)
    for a in range(n):
        mine = points[seen[a]]
        sight = F.normalize(eyes[:, None] - mine, dim=-1)
        scores[a] = (suits((sight * sight[a]).sum(-1)) * seen[:, seen[a]]).sum(-1)
    return scores


def suits(cosine: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """exp(-(angle - 5)^2 / (2 width^2)) in degrees, with width 1 below 5 and 10 above (MVSNet, section 4.1)."""
    off = torch.acos(cosine.clamp(-1, 1)) * (180 / math.pi) - BEST_ANGLE
    width = torch.where(off < 0, NARROW, WIDE)
    return torch.exp(-off.square() / (2 * width**2))
