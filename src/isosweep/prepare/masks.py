"""Masks of the working copies: from alpha, a folder, a background colour, or a segmentation model.

A mask is a PNG <stem of the image>.png of the image's size, 255 on the foreground.
"""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
TOLERANCE = 16
"""Largest difference of a channel to the background colour, of 255."""
MODEL_SIDE = 512
"""Images go through a segmentation model at this size."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Choice:
    """What --masks asks for."""

    kind: str
    """'none', 'alpha', 'color', 'model', 'folder'."""
    path: Path | None = None
    color: tuple[int, int, int] = (255, 255, 255)
    tolerance: int = TOLERANCE


def parse(text: str, with_alpha: int, n: int) -> Choice:
    """The value of --masks, for ``n`` photographs of which some have transparent pixels.

    'auto' takes these for masks where at least half of the photographs have them: one picture with a
    transparent corner among photographs masks none of them.

    Raises:
        ValueError: 'alpha' without an image that has one, or a colour that is none.
        FileNotFoundError: a folder or model that is not there.
    """
    if text == "auto":
        return Choice("alpha" if with_alpha and 2 * with_alpha >= n else "none")
    if text == "none":
        return Choice("none")
    if text == "alpha":
        if not with_alpha:
            raise ValueError(
                "--masks alpha: no photograph has transparent pixels. Use another kind, or --masks none"
            )
        return Choice("alpha")
    if text.startswith("color:"):
        found = re.fullmatch(r"color:#?([0-9a-fA-F]{6})(?::(\d{1,3}))?", text)
        if not found:
            raise ValueError(
                f"--masks {text}: a colour is six hex digits, color:00ff00 or color:ffffff:24 (tolerance)"
            )
        r, g, b = (int(found[1][k : k + 2], 16) for k in (0, 2, 4))
        return Choice("color", None, (r, g, b), int(found[2]) if found[2] else TOLERANCE)
    if text.startswith("model:"):
        file = Path(text.removeprefix("model:"))
        if not file.is_file():
            raise FileNotFoundError(
                f"--masks {text}: no file {file}. It takes a TorchScript module (torch.jit.save) from normalised RGB "
                "[1, 3, H, W] to foreground logits [1, 1, H, W]"
            )
        return Choice("model", file)
    folder = Path(text)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"--masks {text}: no such folder, and none of auto, none, alpha, color:RRGGBB, model:FILE.pt"
        )
    return Choice("folder", folder)


def find_mask(folder: Path, source: str) -> Path | None:
    """The mask of a photograph: <stem>.png, <name>.png (COLMAP's way), mask_<stem>.png or <stem>_mask.png."""
    stem = Path(source).stem
    for base in (stem, source, f"mask_{stem}", f"{stem}_mask"):
        for ending in ENDINGS:
            if (folder / f"{base}{ending}").is_file():
                return folder / f"{base}{ending}"
    return None


def make_masks(
    choice: Choice,
    photos: list[tuple[str, str]],
    images: Path,
    alphas: Path,
    out: Path,
    workers: int,
    tick: Callable[[], None],
) -> list[str]:
    """Write the masks of all working copies ((name, source) each); names of sources that have none.

    Those count as foreground everywhere.

    Raises:
        ValueError: no photograph has a mask, a mask of another shape, or all masks are empty.
    """
    out.mkdir(parents=True, exist_ok=True)
    model = _model(choice.path) if choice.kind == "model" and choice.path else None

    def one(photo: tuple[str, str]) -> tuple[float, bool]:
        name, source = photo
        with Image.open(images / name) as image:
            size = image.size
            pixels = np.asarray(image.convert("RGB")) if choice.kind in ("color", "model") else None
        if choice.kind == "color" and pixels is not None:
            mask = not_background(pixels, choice.color, choice.tolerance)
        elif model is not None and pixels is not None:
            mask = model(pixels)
        else:
            file = _given(choice, alphas, name, source)
            mask = np.full(size[::-1], 255, np.uint8) if file is None else _read(file, size)
            if file is None:
                Image.fromarray(mask).save(out / f"{Path(name).stem}.png")
                return 1.0, False
        Image.fromarray(mask).save(out / f"{Path(name).stem}.png")
        return float((mask > 127).mean()), True

    cover, without = [], []
    with ThreadPoolExecutor(1 if model is not None else workers) as pool:
        for (_, source), (share, found) in zip(photos, pool.map(one, photos), strict=True):
            tick()
            cover.append(share)
            if not found:
                without.append(source)
    if len(without) == len(photos):
        raise ValueError(
            f"no mask for any of {len(photos)} photographs in {choice.path}: sought "
            f"{Path(photos[0][1]).stem}.png, {photos[0][1]}.png and the like"
        )
    if max(cover) == 0:
        raise ValueError(
            "all masks are empty: with color:..., the whole of every image is that colour; change --masks"
        )
    if choice.kind == "color" and min(cover) == 1:
        r, g, b = choice.color
        raise ValueError(
            f"--masks color: no pixel at the border of an image is within {choice.tolerance} of "
            f"#{r:02x}{g:02x}{b:02x}: give the colour as it is in the photographs, or a larger tolerance"
        )
    return without


def _given(choice: Choice, alphas: Path, name: str, source: str) -> Path | None:
    if choice.kind == "alpha":
        file = alphas / f"{Path(name).stem}.png"
        return file if file.is_file() else None
    assert choice.path is not None
    return find_mask(choice.path, source)


def _read(file: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    with Image.open(file) as image:
        grey = np.asarray(image.convert("RGB")).max(-1) if image.mode != "L" else np.asarray(image)
        if image.mode in ("RGBA", "LA") and grey.min() == grey.max():
            grey = np.asarray(image.getchannel("A"))
    if grey.max() == 1:
        grey = grey * np.uint8(255)
    if grey.shape != size[::-1]:
        ratio = np.array(grey.shape) / np.array(size[::-1])
        if abs(ratio[0] / ratio[1] - 1) > 0.02:
            raise ValueError(
                f"mask {file} is {grey.shape[1]}x{grey.shape[0]}, its photograph {size[0]}x{size[1]}: they must "
                "have one shape (was one of them turned?)"
            )
        grey = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))
    return np.ascontiguousarray(grey)


def not_background(
    pixels: UInt8[np.ndarray, "h w 3"], color: tuple[int, int, int], tolerance: int
) -> UInt8[np.ndarray, "h w"]:
    """255 where a pixel is not of the background's colour, or is enclosed by others that are not."""
    from scipy.ndimage import label

    near = np.abs(pixels.astype(np.int16) - np.array(color, np.int16)).max(-1) <= tolerance
    parts = np.asarray(label(near)[0])  # pyright: ignore[reportIndexIssue] - a pair without `output`
    border = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    background = near & np.isin(parts, border[border > 0])
    return np.where(background, np.uint8(0), np.uint8(255))


def _model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A user's own segmentation network as pixels -> mask."""
    import torch

    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"--masks model:{path} is no TorchScript file ({str(error).splitlines()[0]}): save it with torch.jit.save"
        ) from error

    def run(pixels: np.ndarray) -> np.ndarray:
        h, w = pixels.shape[:2]
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        x = torch.nn.functional.interpolate(x, size=(MODEL_SIDE, MODEL_SIDE), mode="bilinear", antialias=True)
        x = (x - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
        with torch.inference_mode():
            out = module(x)
        while isinstance(out, (tuple, list)):  # U2-Net and the like return the side outputs after the first
            out = out[0]
        if not isinstance(out, torch.Tensor) or out.ndim != 4 or out.shape[:2] != (1, 1):
            found = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise ValueError(f"--masks model:{path} returned {found}; expected logits [1, 1, H, W]")
        out = torch.nn.functional.interpolate(out.float(), size=(h, w), mode="bilinear")
        return (out[0, 0].sigmoid() > 0.5).numpy().astype(np.uint8) * np.uint8(255)

    return run
