"""Score a folder of renders against a folder of photographs, with the image scores of ``evaluation.evaluate``.

Axes: H, W pixels of a view. Files are read with 8 bits per channel (of 16 bits the high byte is
kept), as numbers in [0, 1].
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.data.decode import Source, decode, read_header, read_mask
from isosweep.data.neus import natural_order
from isosweep.errors import InputError
from isosweep.evaluation import image_metrics
from isosweep.evaluation.scoreboard import Board, ViewScorer
from isosweep.types import Scores

ENDINGS = (".png", ".jpg", ".jpeg")
BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


@dataclass(frozen=True)
class ImageSettings:
    """How renders are read, named and compared."""

    views: str = "nvs"
    """Prefix of the scores' names: 'nvs' if the method did not train on these views, else 'train_view'."""
    background: str | None = None
    """'white' or 'black': the colour over which images with alpha, and masked truth images, are composited."""
    crop: int = 0
    """Pixels that are cut from every side before scoring."""
    lpips: str | None = "vgg"
    """Backbone; None leaves LPIPS out."""
    ignore: tuple[str, ...] = ()
    """Patterns of file names that are not views, such as '*_depth*'."""


@dataclass(frozen=True)
class View:
    """The files of one view."""

    name: str
    render: Path
    truth: Path
    mask: Path | None


def image_scores(renders: Path, truth: Path, masks: Path | None, settings: ImageSettings) -> Scores:
    """PSNR (dB), SSIM and LPIPS of each view and their means; with masks or alpha psnr_masked and ssim_masked as well.

    ``image_metrics`` and ``lpips`` define the scores. Images with alpha are composited over the background,
    c alpha + background (1 - alpha). A truth without alpha is composited with its mask, if a background is given. A
    render without alpha is scored as it is. Without ``masks``, the truth's alpha is the mask.

    Raises:
        FileNotFoundError: a folder does not exist or holds no image.
        InputError: files do not pair up, are not images, or differ in size; or alpha without a background.
    """
    if settings.background is not None and settings.background not in BACKGROUNDS:
        raise InputError(f"background '{settings.background}' is none of {', '.join(BACKGROUNDS)}")
    if settings.views not in ("nvs", "train_view"):
        raise InputError(f"views '{settings.views}' is none of nvs, train_view")
    views, paired = pair(renders, truth, masks, settings.ignore)
    for view in views:
        _check(view, settings)
    scorer, board = ViewScorer(settings.lpips), Board()
    alphas = 0
    for view in views:
        pred, real, mask = _read(view, settings)
        alphas += mask is not None and view.mask is None
        for name, score in scorer(pred, real, mask).items():
            board.add(f"{settings.views}/{name}", view.name, score)
    values, per_view = board.result()
    composited = settings.background is not None and (masks is not None or alphas > 0)
    notes: dict[str, object] = {
        "split": "test" if settings.views == "nvs" else "train",
        "held_out": settings.views == "nvs",
        "n_views": len(views),
        "background": list(BACKGROUNDS[settings.background]) if composited and settings.background else None,
        "composite": composited,
        "quantise": True,
        "crop": settings.crop,
        "masked_by": "masks" if masks is not None else "alpha" if alphas else None,
        "paired_by": paired,
    } | scorer.notes()
    return Scores("images", values, per_view, notes, board.reasons)


def pair(
    renders: Path, truth: Path, masks: Path | None, ignore: Sequence[str] = ()
) -> tuple[list[View], str]:
    """The views, and how their files were paired: by name, or by sorted order if no names agree.

    Numbers in names are sorted as numbers: 2 before 10. Files that match a pattern of ``ignore`` are left out.

    Raises:
        FileNotFoundError: a folder does not exist or holds no image.
        InputError: a folder holds files that are not images, or two images of one name, or the folders do not pair up.
    """
    real = _images(truth, ignore)
    found = {"render": _images(renders, ignore)} | ({} if masks is None else {"mask": _images(masks, ignore)})
    how = "name"
    matched: dict[str, list[Path]] = {}
    for what, files in found.items():
        by_stem = {path.stem: path for path in files}
        common = [path for path in real if path.stem in by_stem]
        if len(common) == len(real) == len(files):
            matched[what] = [by_stem[path.stem] for path in real]
        elif not common and len(files) == len(real):
            matched[what], how = files, "place in the sorted list"
        else:
            missing = [path.name for path in real if path.stem not in by_stem]
            extra = [path.name for path in files if path.stem not in {p.stem for p in real}]
            alone = [f"no {what} for {_few(missing)}"] * bool(missing) + [
                f"no truth for {_few(extra)}"
            ] * bool(extra)
            raise InputError(
                f"{truth} has {len(real)} images and {files[0].parent} has {len(files)} {what}s, which do not pair "
                f"up: {'; '.join(alone)}. Either all names must agree (without their ending), or none agrees and the "
                "counts are equal: add the missing files, and move away or --ignore the others"
            )
    mask_files = matched.get("mask", [None] * len(real))
    rows = zip(real, matched["render"], mask_files, strict=True)
    return [View(path.name, render, path, mask) for path, render, mask in rows], how


def _images(folder: Path, ignore: Sequence[str]) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of images at {folder}: check the path")
    there = [p for p in folder.iterdir() if not p.name.startswith(".")]
    files = [p for p in there if not any(fnmatch(p.name, pattern) for pattern in ignore)]
    other = sorted(p.name for p in files if not p.is_file() or p.suffix.lower() not in ENDINGS)
    if other:
        raise InputError(
            f"{folder} holds {_few(other)}, which {'is not an image' if len(other) == 1 else 'are not images'} "
            f"({', '.join(ENDINGS)}): give a folder with nothing but the images to score, or leave files out "
            "by name (--ignore)"
        )
    if not files:
        what = f"nothing but {len(there)} ignored files" if there else "nothing"
        raise FileNotFoundError(f"{folder} holds {what}: expected images ({', '.join(ENDINGS)})")
    stems = sorted(p.stem for p in files)
    twice = sorted({a for a, b in itertools.pairwise(stems) if a == b})
    if twice:
        raise InputError(f"{folder} has several images called {_few(twice)}: keep one of each")
    return sorted(files, key=natural_order)


def _few(names: Sequence[str]) -> str:
    return (
        ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "none"
    )


def _check(view: View, settings: ImageSettings) -> None:
    """Refuse a pair before anything is scored."""
    render, truth = read_header(Source(view.render)), read_header(Source(view.truth, view.mask))
    if (render.height, render.width) != (truth.height, truth.width):
        raise InputError(
            f"render {view.render} is {render.width}x{render.height}, its truth {view.truth} is "
            f"{truth.width}x{truth.height}: render at the size of the truth; nothing is resized in silence"
        )
    if settings.background is None and (render.alpha or truth.alpha):
        which = view.render if render.alpha else view.truth
        raise InputError(f"{which} has alpha: say what lies behind it with --background white or black")
    if settings.crop < 0 or 2 * settings.crop >= min(truth.height, truth.width):
        raise InputError(
            f"a crop of {settings.crop} pixels a side leaves nothing of {view.truth} ({truth.width}x{truth.height})"
        )


def _read(
    view: View, settings: ImageSettings
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 3"], Float[Tensor, "h w"] | None]:
    pred, pred_alpha = _colour(view.render)
    real, alpha = _colour(view.truth)
    mask = None if view.mask is None else torch.from_numpy(read_mask(view.mask).astype(np.float32) / 255)
    if settings.background is not None:
        behind = torch.tensor(BACKGROUNDS[settings.background])
        if pred_alpha is not None:
            # as if the composited render had been written to a file of 8 bits
            pred = image_metrics.quantised(pred * pred_alpha + behind * (1 - pred_alpha))
        cover = alpha if alpha is not None else None if mask is None else mask[..., None]
        if cover is not None:
            real = real * cover + behind * (1 - cover)
    if mask is None and alpha is not None:
        mask = alpha[..., 0]
    cut = (
        slice(settings.crop, real.shape[0] - settings.crop),
        slice(settings.crop, real.shape[1] - settings.crop),
    )
    return pred[cut], real[cut], None if mask is None else mask[cut]


def _colour(path: Path) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 1"] | None]:
    alpha = read_header(Source(path)).alpha
    pixels = torch.from_numpy(decode(Source(path), alpha, 1).astype(np.float32) / 255)
    return pixels[..., :3], pixels[..., 3:] if alpha else None
