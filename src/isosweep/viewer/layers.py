"""What can be seen of a model, as pictures: colour, depth, normal, opacity, and what lies behind the box.

Axes: H, W pixels. Maps are those of `isosweep.rendering.views`, as arrays.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from isosweep.meshes.files import to_bytes
from isosweep.rendering.pictures import depth_picture, normal_picture

LAYERS = ("rgb", "depth", "normal", "opacity", "background")
Maps = Mapping[str, np.ndarray]
"""The maps of one rendered picture by name, each [H, W, C]."""
NOT_THERE = 0.85
"""The grey of a layer that a model does not have."""
HIT = 0.5
"""Least opacity at which a ray has met something."""


def layers_of(provides: Collection[str]) -> tuple[str, ...]:
    """The layers of a model that can return the fields ``provides`` (models/base.py)."""
    needs = {"normal": "normal", "background": "levels.background.rgb"}
    return tuple(name for name in LAYERS if name not in needs or needs[name] in provides)


def picture(columns: Sequence[Maps], layer: str) -> UInt8[np.ndarray, "h w 3"]:
    """One layer of the models side by side, in colours of 8 bits. Depths have one scale for all of them."""
    bounds = depth_bounds(columns) if layer == "depth" else None
    return np.concatenate([to_bytes(_drawn(maps, layer, bounds)) for maps in columns], axis=1)


def depth_bounds(columns: Sequence[Maps]) -> tuple[float, float] | None:
    """The 1st and the 99th percentile of the depths at which something was met; None if nothing was."""
    met = [maps["depth"][maps["opacity"] > HIT] for maps in columns]
    if not any(len(depths) for depths in met):
        return None
    low, high = np.percentile(np.concatenate(met), [1, 99])
    return float(low), float(high)


def _drawn(maps: Maps, layer: str, bounds: tuple[float, float] | None) -> Float[np.ndarray, "h w 3"]:
    opacity = maps["opacity"][..., 0]
    if layer == "depth":
        return depth_picture(maps["depth"][..., 0], opacity > HIT, bounds)
    if layer == "opacity":
        return np.repeat(maps["opacity"], 3, axis=-1)
    if layer not in maps:
        return np.full((*opacity.shape, 3), NOT_THERE)
    return normal_picture(maps["normal"], opacity) if layer == "normal" else maps[layer]


def axial_depth(maps: Maps, fov: float, aspect: float, far: float) -> Float[np.ndarray, "h w 1"]:
    """Depth along the optical axis, in normalised units, for things that are drawn in front of a picture or behind it.

    A ray through (x, y, 1), with x and y up to tan(fov / 2) aspect and tan(fov / 2), is sqrt(1 + x^2 + y^2) times as
    long as its depth.

    Args:
        fov: of the height, in radians.
        aspect: the width of the window over its height.
        far: where nothing was met.
    """
    h, w = maps["depth"].shape[:2]
    half = np.tan(fov / 2)
    y = (np.arange(h) + 0.5 - h / 2) / (h / 2) * half
    x = (np.arange(w) + 0.5 - w / 2) / (w / 2) * half * aspect
    length = np.sqrt(1 + x[None, :] ** 2 + y[:, None] ** 2)
    return np.where(maps["opacity"] > HIT, maps["depth"] / length[..., None], far)
