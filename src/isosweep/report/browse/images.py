"""Makes small pictures of a run's renders, and maps of their error against the photographs.

A run saves ``renders/<view>_rgb.png``, ``_depth``, ``_normal`` and ``_truth``; the folder of another program's record
may hold the same. A picture's file name is a hash of what it was made from, so that it is made only once.
"""

import base64
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.errors import InputError
from isosweep.report.browse.files import data_script, replace_file
from isosweep.report.browse.guard import guarded, regular
from isosweep.report.keys import sort_key
from isosweep.runtime.image_file import open_image

KINDS = ("rgb", "depth", "normal", "truth")
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
ERROR_TOP = 0.2
"""Mean absolute error over the channels, for images in [0, 1], at which the error map is brightest."""
MOST_PIXELS = 80_000_000
"""A picture that announces more is not decoded: 240 MB, and several at once."""
PIXEL_BYTES = 600_000
"""Of a page, for pixels that its figures need; what a page of 200 runs has room for."""
QUALITY = 82
"""Quality of the webp files. Pictures of full size are stored without loss instead."""
_VERSION = "1"


@dataclass(frozen=True)
class WrittenViews:
    """The pictures of a run: view -> kind -> file, relative to the page. ``skipped`` counts views left out."""

    files: dict[str, dict[str, str]]
    skipped: int
    notes: list[str]


def find_views(folder: Path) -> dict[str, dict[str, Path]]:
    """The render files of a folder: view -> kind -> file, sorted by the numbers in the names.

    Views without an ``rgb`` are left out.
    """
    found: dict[str, dict[str, Path]] = {}
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for entry in entries:
        stem, ending = os.path.splitext(entry.name)
        view, _, kind = stem.rpartition("_")
        if view and kind in KINDS and ending.lower() in ENDINGS:
            found.setdefault(view, {})[kind] = Path(entry.path)
    return {v: found[v] for v in sorted(found, key=sort_key) if "rgb" in found[v]}


def spaced_names(names: list[str], count: int) -> list[str]:
    """``count`` of the names, evenly spaced and starting with the first; all of them if there are no more."""
    if len(names) <= count:
        return names
    return [names[i * len(names) // count] for i in range(count)]


def write_views(folder: Path, views: list[str], target: Path, pixels: int) -> WrittenViews:
    """Make the pictures of a run's views in the folder ``target``.

    ``pixels`` is the longest side of a picture; 0 keeps the size. A picture that cannot be read gives a note; the
    others are made.
    """
    found = find_views(folder)
    files: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for view in views:
        paths = found.get(view)
        if paths is None:
            continue
        made = {}
        for kind, path in paths.items():
            draw = partial(_picture, path, target, pixels, by_content=kind == "truth")
            if name := guarded(path.name, draw, "", notes):
                made[kind] = name
        if "rgb" in made and "truth" in made:
            draw = partial(_error, paths["rgb"], paths["truth"], target, pixels)
            if name := guarded(f"no error map of {view}", draw, "", notes):
                made["error"] = name
        if "rgb" in made:
            files[view] = made
    return WrittenViews(files, len(found) - len(files), notes)


def write_pixels(target: Path, runs: Sequence[dict[str, dict[str, str]]]) -> set[str]:
    """Scripts with the pixels of pictures, for figures that the page saves: a page from disk may not read its files.

    They are a second copy, of up to ``PIXEL_BYTES`` in all: renders first, then photographs, error maps, the rest.
    Returns their names relative to the page.

    Args:
        runs: view -> kind -> file, for each run.
    """
    used: dict[str, None] = {}
    room = PIXEL_BYTES
    for kinds in (("rgb", "truth"), ("error",), ("depth", "normal")):
        for name in dict.fromkeys(v[k] for views in runs for v in views.values() for k in kinds if k in v):
            room -= 4 * (target / name).stat().st_size // 3
            if room < 0:
                return set(used)
            used[f"{name}.js"] = None
            if not (target / f"{name}.js").exists():
                text = base64.b64encode((target / name).read_bytes()).decode()
                replace_file(
                    target / f"{name}.js", data_script(f"picture/{name}", f"data:image/webp;base64,{text}")
                )
    return set(used)


def error_map(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Colours [H, W, 3] of the mean over the channels of |image - truth|, both uint8 [H, W, 3].

    The colour map is 'inferno' from 0 to ERROR_TOP. Raises ValueError if the sizes differ.
    """
    if image.shape != truth.shape:
        raise InputError(
            f"render is {image.shape[1]}x{image.shape[0]}, photograph {truth.shape[1]}x{truth.shape[0]}"
        )
    error = np.abs(image.astype(np.int16) - truth.astype(np.int16)).mean(-1) / 255
    return _inferno()[(error / ERROR_TOP * 255).round().clip(0, 255).astype(np.uint8)]


def scale_colours(steps: int = 17) -> list[str]:
    """``steps`` colours '#rrggbb' along the scale of the error map."""
    table = _inferno()
    return ["#{:02x}{:02x}{:02x}".format(*table[round(i * 255 / (steps - 1))]) for i in range(steps)]


def _inferno() -> np.ndarray:
    from matplotlib import colormaps

    return (colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def _picture(path: Path, target: Path, pixels: int, *, by_content: bool) -> str:
    """Store one picture. ``by_content`` names it by its bytes, so that all runs share one copy of a photograph."""
    basis = hashlib.sha1(regular(path).read_bytes()).hexdigest() if by_content else file_stamp(path)
    return _store_once(target, f"{basis} {pixels}", lambda: _shrink(_open_rgb(path), pixels), not pixels)


def _error(rgb: Path, truth: Path, target: Path, pixels: int) -> str:
    def draw() -> Any:
        import PIL.Image

        return _shrink(
            PIL.Image.fromarray(error_map(np.asarray(_open_rgb(rgb)), np.asarray(_open_rgb(truth)))), pixels
        )

    return _store_once(
        target, f"{file_stamp(rgb)} {file_stamp(truth)} {pixels} {ERROR_TOP}", draw, not pixels
    )


def file_stamp(path: Path) -> str:
    """Path, size and modification time: they identify a version of a file without reading it."""
    state = path.stat()
    return f"{os.fsencode(path.resolve())!r} {state.st_size} {state.st_mtime_ns}"


def _store_once(target: Path, basis: str, draw: Callable[[], Any], lossless: bool) -> str:
    name = f"{hashlib.sha1(f'{_VERSION} {basis}'.encode()).hexdigest()[:20]}.webp"
    path = target / name
    if not path.exists():
        buffer = io.BytesIO()
        draw().save(buffer, format="webp", quality=QUALITY, method=3, lossless=lossless)
        replace_file(path, buffer.getvalue())
    return f"{target.name}/{name}"


def _open_rgb(path: Path) -> Any:
    import PIL.Image

    with open_image(regular(path)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise InputError(
                f"it announces {image.width}x{image.height} pixels, and the page takes {MOST_PIXELS}"
            )
        if image.mode in ("RGBA", "LA", "PA"):  # composite over white, as scoring does
            image = image.convert("RGBA")
            white = PIL.Image.new("RGBA", image.size, "white")
            return PIL.Image.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")


def _shrink(image: Any, pixels: int) -> Any:
    import PIL.Image

    longest = max(image.size)
    if pixels and longest > pixels:
        size = tuple(max(1, round(side * pixels / longest)) for side in image.size)
        return image.resize(size, PIL.Image.Resampling.BOX)
    return image
