"""Draw pictures: depth and normals in colours, grids of images, shaded meshes; and write PNG files.

Images are numpy arrays [H, W, 3] of floats in [0, 1]. Maps of one value are [H, W].
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from isosweep.meshes.files import to_bytes
from isosweep.runtime.files import atomic_write_bytes

Image = Float[np.ndarray, "h w 3"]

COLOR_MAPS = {"viridis": "viridis", "turbo": "turbo", "jet": "jet", "magma": "magma", "grey": "gray"}
"""Names of `DEPTH_COLORS` (config/settings.py) -> matplotlib's. Near is their last colour, which is bright in all but
turbo and jet: there it is dark red, and far is blue."""


def write_png(path: Path, image: Image) -> Path:
    """Write an 8-bit PNG, whole or not at all; its folder is made."""
    import PIL.Image

    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    PIL.Image.fromarray(to_bytes(image)).save(buffer, format="png")
    atomic_write_bytes(path, buffer.getvalue())
    return path


def depth_picture(
    depth: Float[np.ndarray, "h w"],
    inside: Bool[np.ndarray, "h w"],
    bounds: tuple[float, float] | None = None,
    colors: str = "viridis",
) -> Image:
    """A depth map in colours: near is a map's last colour, far its first, and outside is white.

    Args:
        inside: where something is hit.
        bounds: depths of the nearest and the farthest colour; None takes the 1st and 99th percentile inside.
        colors: a name of ``COLOR_MAPS``.
    """
    from matplotlib import colormaps

    out = np.ones((*depth.shape, 3))
    inside = inside & np.isfinite(depth)
    if not inside.any():
        return out
    low, high = np.percentile(depth[inside], [1, 99]) if bounds is None else bounds
    share = ((depth[inside] - low) / max(high - low, 1e-12)).clip(0, 1)
    out[inside] = colormaps[COLOR_MAPS[colors]](1 - share)[:, :3]
    return out


def normal_picture(normal: Image, opacity: Float[np.ndarray, "h w"]) -> Image:
    """A normal map in colours, n / 2 + 1 / 2 in the scene's frame, composited over white with the opacity."""
    weight = opacity.clip(0, 1)[..., None]
    return (normal / 2 + 0.5) * weight + 1 - weight


def grid(
    rows: Sequence[Sequence[Float[np.ndarray, "_ _ 3"]]], headings: Sequence[str] = (), gap: int = 4
) -> Image:
    """Rows of images on white, each centred in a cell of the largest image's size, with headings over the columns."""
    height = max(image.shape[0] for row in rows for image in row)
    width = max(image.shape[1] for row in rows for image in row)
    columns = max(len(row) for row in rows)
    head = 16 if headings else 0
    out = np.ones((head + len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            h, w = image.shape[:2]
            top = head + i * (height + gap) + (height - h) // 2
            left = j * (width + gap) + (width - w) // 2
            out[top : top + h, left : left + w] = image
    if headings:
        out[:head] = _text(headings, out.shape[1], head, width + gap)
    return out


def _text(headings: Sequence[str], width: int, height: int, step: int) -> Image:
    import PIL.Image
    import PIL.ImageDraw

    strip = PIL.Image.new("RGB", (width, height), "white")
    draw = PIL.ImageDraw.Draw(strip)
    for j, heading in enumerate(headings):
        draw.text((j * step + 2, 2), heading, fill="black")
    return np.asarray(strip) / 255
