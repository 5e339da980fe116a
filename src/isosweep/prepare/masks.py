"""Masks of the working copies: from alpha, a folder, a background colour, or a segmentation model.

A mask is the file <stem of the image>.png. It has the size of the image, 255 on the foreground, 0 on the background.
"""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from isosweep.data.decode import read_mask
from isosweep.errors import InputError
from isosweep.prepare import segmentation
from isosweep.prepare.image_io import read_rgb
from isosweep.runtime.image_file import open_image

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
TOLERANCE = 16
"""A pixel has the background colour if no channel differs from it by more than this, of 255."""
MODEL_SIDE = 512
"""A segmentation model gets square images with this many pixels a side."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet, by which segmentation models normalise their input."""


@dataclass(frozen=True)
class MaskSource:
    """Where masks come from: the parsed value of ``--masks``."""

    kind: str
    """'none', 'alpha', 'color', 'model', 'sam' or 'folder'."""
    path: Path | None = None
    """Of the model, the weights or the folder."""
    color: tuple[int, int, int] = (255, 255, 255)
    """Of the background, for 'color': red, green and blue from 0 to 255."""
    tolerance: int = TOLERANCE
    """For 'color': the largest difference of a channel."""
    point: tuple[float, ...] | None = None
    """For 'sam': a place on the object, as shares of width and height; None for the middle."""


def parse_masks(text: str, with_alpha: int, n: int, point: tuple[float, ...] | None = None) -> MaskSource:
    """Parse the value of ``--masks``.

    'auto' means 'alpha' if at least half of the photographs have transparent pixels, else 'none': a single
    picture with a transparent corner does not mask all the others.

    Args:
        text: 'auto', 'none', 'alpha', 'color:RRGGBB[:tolerance]', 'model:FILE.pt', 'sam:FILE', or a folder.
        with_alpha: number of photographs with transparent pixels.
        n: number of all photographs.
        point: for 'sam', see `MaskSource`.

    Raises:
        ValueError: 'alpha', but no photograph has transparent pixels; or a colour of another form.
        FileNotFoundError: the folder or the model does not exist.
    """
    if text == "auto":
        return MaskSource("alpha" if with_alpha and 2 * with_alpha >= n else "none")
    if text == "none":
        return MaskSource("none")
    if text == "alpha":
        if not with_alpha:
            raise InputError(
                "--masks alpha: no photograph has transparent pixels. Use another kind, or --masks none"
            )
        return MaskSource("alpha")
    if text.startswith("color:"):
        found = re.fullmatch(r"color:#?([0-9a-fA-F]{6})(?::(\d{1,3}))?", text)
        if not found:
            raise InputError(
                f"--masks {text}: a colour is six hex digits, color:00ff00 or color:ffffff:24 (tolerance)"
            )
        r, g, b = (int(found[1][k : k + 2], 16) for k in (0, 2, 4))
        return MaskSource("color", None, (r, g, b), int(found[2]) if found[2] else TOLERANCE)
    if text.startswith("model:"):
        file = Path(text.removeprefix("model:"))
        if not file.is_file():
            raise FileNotFoundError(
                f"--masks {text}: no file {file}. It takes a TorchScript module (torch.jit.save) from normalised RGB "
                "[1, 3, 512, 512] to foreground logits [1, 1, H, W]"
            )
        return MaskSource("model", file)
    if text == "sam" or text.startswith("sam:"):
        segmentation.require(text)
        return MaskSource("sam", Path(text.removeprefix("sam:")), point=point)
    folder = Path(text)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"--masks {text}: no such folder, and none of auto, none, alpha, color:RRGGBB, model:FILE.pt, sam:FILE"
        )
    return MaskSource("folder", folder)


def find_mask(folder: Path, source: str) -> Path | None:
    """The mask file of a photograph, or None if the folder has none.

    Args:
        source: file name of the photograph. Its mask is called <stem>.png, <source>.png (as COLMAP does),
            mask_<stem>.png or <stem>_mask.png; other image formats are found as well.
    """
    stem = Path(source).stem
    for base in (stem, source, f"mask_{stem}", f"{stem}_mask"):
        for ending in ENDINGS:
            if (folder / f"{base}{ending}").is_file():
                return folder / f"{base}{ending}"
    return None


def make_masks(
    masks: MaskSource,
    photos: list[tuple[str, str]],
    images: Path,
    alphas: Path,
    out: Path,
    workers: int,
    tick: Callable[[], None],
) -> list[str]:
    """Write the masks of all working copies to ``out``.

    A photograph without a mask counts as foreground everywhere.

    Args:
        photos: file name of each working copy, and of its original.
        images: folder of the working copies.
        alphas: folder of their alpha channels, see `photos.copy_photo`.
        tick: called after each photograph.

    Returns:
        File names of the originals that have no mask.

    Raises:
        ValueError: no photograph has a mask; a mask has another aspect ratio than its photo; all masks are
            empty; or the background colour appears in no photograph.
    """
    out.mkdir(parents=True, exist_ok=True)
    model = _load_model(masks.path) if masks.kind == "model" and masks.path else None
    if masks.kind == "sam":
        model = segmentation.load_sam(f"sam:{masks.path}", masks.point)

    def write_mask(photo: tuple[str, str]) -> tuple[float, bool]:
        """The share of foreground pixels, and whether the photograph has a mask."""
        name, source = photo
        has_mask = True
        if masks.kind == "color":
            mask = foreground_by_color(np.asarray(read_rgb(images / name)), masks.color, masks.tolerance)
        elif model is not None:
            mask = model(np.asarray(read_rgb(images / name)))
        else:
            with open_image(images / name) as image:
                size = image.size
            file = _mask_file(masks, alphas, name, source)
            has_mask = file is not None
            mask = np.full(size[::-1], 255, np.uint8) if file is None else _read_mask(file, size)
        Image.fromarray(mask).save(out / f"{Path(name).stem}.png")
        return float((mask > 127).mean()), has_mask

    shares, without = [], []
    with ThreadPoolExecutor(1 if model is not None else workers) as pool:
        for (_, source), (share, found) in zip(photos, pool.map(write_mask, photos), strict=True):
            tick()
            shares.append(share)
            if not found:
                without.append(source)
    if len(without) == len(photos):
        raise InputError(
            f"no mask for any of {len(photos)} photographs in {masks.path}: sought "
            f"{Path(photos[0][1]).stem}.png, {photos[0][1]}.png and the like"
        )
    if max(shares) == 0:
        raise InputError(
            "all masks are empty (for color:..., every image has that colour everywhere): change --masks"
        )
    if masks.kind == "color" and min(shares) == 1:
        r, g, b = masks.color
        raise InputError(
            f"--masks color: no pixel at the border of an image is within {masks.tolerance} of "
            f"#{r:02x}{g:02x}{b:02x}: give the colour as it is in the photographs, or a larger tolerance"
        )
    return without


def _mask_file(masks: MaskSource, alphas: Path, name: str, source: str) -> Path | None:
    if masks.kind == "alpha":
        file = alphas / f"{Path(name).stem}.png"
        return file if file.is_file() else None
    assert masks.path is not None
    return find_mask(masks.path, source)


def _read_mask(file: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """A mask as values from 0 to 255, for an image of ``size`` (width, height).

    Colours count by their brightest channel, and a picture of one colour by its alpha. Masks of 0 and 1 are
    scaled to 0 and 255. A mask of another size but the same aspect ratio is resized to the image's size.
    """
    with open_image(file) as image:
        grey = read_mask(file)
        if image.mode in ("RGBA", "LA") and grey.min() == grey.max():
            grey = np.asarray(image.getchannel("A"))
    if grey.shape != size[::-1]:
        ratio = np.array(grey.shape) / np.array(size[::-1])
        if abs(ratio[0] / ratio[1] - 1) > 0.02:
            raise InputError(
                f"mask {file} is {grey.shape[1]}x{grey.shape[0]}, its photograph {size[0]}x{size[1]}: both must "
                "have the same aspect ratio (was one of them turned?)"
            )
        grey = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))
    return np.ascontiguousarray(grey)


def foreground_by_color(
    pixels: UInt8[np.ndarray, "h w 3"], color: tuple[int, int, int], tolerance: int
) -> UInt8[np.ndarray, "h w"]:
    """Mask a photograph in front of a background of one colour.

    The background is every region of that colour that touches the image's border. A region of the same colour
    that is enclosed by the object belongs to the object.

    Args:
        color: red, green and blue of the background, 0 to 255.
        tolerance: the largest difference of a channel that still counts as ``color``.

    Returns:
        255 on the foreground, 0 on the background.
    """
    from scipy.ndimage import label

    near = np.abs(pixels.astype(np.int16) - np.array(color, np.int16)).max(-1) <= tolerance
    parts = np.asarray(label(near)[0])  # pyright: ignore[reportIndexIssue] - a pair without `output`
    border = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    background = near & np.isin(parts, border[border > 0])
    return np.where(background, np.uint8(0), np.uint8(255))


def _load_model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load a segmentation network of the user, as a function from RGB pixels [h, w, 3] to a mask [h, w]."""
    import torch

    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"--masks model:{path} is no TorchScript file ({str(error).splitlines()[0]}): save it with torch.jit.save"
        ) from error

    def segment(pixels: np.ndarray) -> np.ndarray:
        h, w = pixels.shape[:2]
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        x = torch.nn.functional.interpolate(x, size=(MODEL_SIDE, MODEL_SIDE), mode="bilinear", antialias=True)
        x = (x - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
        with torch.inference_mode():
            out = module(x)
        while isinstance(
            out, (tuple, list)
        ):  # U2-Net and its successors return further outputs after the first
            out = out[0]
        if not isinstance(out, torch.Tensor) or out.ndim != 4 or out.shape[:2] != (1, 1):
            found = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise InputError(f"--masks model:{path} returned {found}; expected logits [1, 1, H, W]")
        out = torch.nn.functional.interpolate(out.float(), size=(h, w), mode="bilinear")
        return (out[0, 0].sigmoid() > 0.5).numpy().astype(np.uint8) * np.uint8(255)

    return segment
