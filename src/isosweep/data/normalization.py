"""The normalised frame of a capture: what becomes the origin, what becomes one unit, what is up.

Symbols: V views, P points, d a viewing direction. Everything is float64 and in the data's own (world)
frame until `to_world` maps normalised points to it; cameras are OpenCV camera-to-world.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from isosweep.geometry import similarity_scale

Poses = Float[np.ndarray, "v 3 4"]
Points = Float[np.ndarray, "p 3"]
CENTRES = ("auto", "points", "look_at", "cameras")
SCALES = ("auto", "points", "look_at", "cameras")
ORIENTATIONS = ("auto", "up", "none")
EXTENSION = "isosweep"
"""The key in a transforms json, and the stem of the file beside a COLMAP model, that hold a frame."""
MARGIN = 1.1
_FEW = 20
"""Fewer points than this say nothing about a scene's size."""


@dataclass(frozen=True)
class FrameChoice:
    """How a frame is found.

    centre: 'points' (middle of the structure-from-motion points without outliers), 'look_at' (the point
        that the optical axes pass nearest to, least sum of distances), 'cameras' (median of their
        centres), a point in world units, or 'auto': the points where there are any, else look_at.
    scale: what one unit holds: 'points' (99 in 100 of the points that are no outliers, and a tenth more),
        'look_at' (the sphere that most cameras frame), 'cameras' (the nearest tenth of them stands on it),
        world units of one unit, or 'auto': points, else look_at, but no further than the cameras.
    orientation: 'up' turns the mean of the cameras' up to +z; 'none' keeps the axes.
    """

    centre: str | Sequence[float] = "auto"
    scale: str | float = "auto"
    orientation: str = "auto"

    @property
    def is_auto(self) -> bool:
        return self.centre == "auto" and self.scale == "auto" and self.orientation == "auto"


def check(choice: FrameChoice) -> None:
    """Raise ValueError for a choice that is none."""
    named: list[tuple[str, Any, tuple[str, ...], str]] = [
        ("centre", choice.centre, CENTRES, "a point [x, y, z] in world units"),
        ("scale", choice.scale, SCALES, "world units of one unit"),
        ("orientation", choice.orientation, ORIENTATIONS, ""),
    ]
    for key, value, options, more in named:
        if isinstance(value, str):
            if value not in options:
                other = f", or {more}" if more else ""
                raise ValueError(f"dataset.{key} is one of {', '.join(options)}{other}; found {value!r}")
        elif key == "centre" and (np.shape(value) != (3,) or not np.isfinite(np.array(value, float)).all()):
            raise ValueError(f"dataset.centre is {more}, found {value}")
        elif key == "scale" and not (np.isfinite(value) and value > 0):
            raise ValueError(f"dataset.scale is a positive number of {more}, found {value}")


def find(
    choice: FrameChoice,
    c2w: Poses,
    half_fov: Float[np.ndarray, " v"],
    points: Points | None,
) -> Float[np.ndarray, "4 4"]:
    """``to_world``: world = scale * rotation @ normalised + centre.

    Args:
        half_fov: tangent of half the narrower field of view of each camera.
        points: world units; None or few where there are none.

    Raises:
        ValueError: a choice that is none, or points that were chosen and are not there.
    """
    check(choice)
    inliers = None if points is None or len(points) < _FEW else without_outliers(points)
    if inliers is None and "points" in (choice.centre, choice.scale):
        n = 0 if points is None else len(points)
        raise ValueError(
            f"dataset.centre or dataset.scale is 'points', and the scene has {n} of them: use look_at or cameras"
        )
    centre = _centre(choice.centre, c2w, inliers)
    scale = _scale(choice.scale, centre, c2w, half_fov, inliers)
    matrix = np.eye(4)
    if choice.orientation in ("auto", "up"):
        matrix[:3, :3] = upright(c2w)
    matrix[:3, :3] *= scale
    matrix[:3, 3] = centre
    return matrix


def _centre(choice: str | Sequence[float], c2w: Poses, inliers: Points | None) -> Float[np.ndarray, "3"]:
    if not isinstance(choice, str):
        return np.array(choice, np.float64)
    if choice == "points" or (choice == "auto" and inliers is not None):
        assert inliers is not None, "find() refuses points that are not there"
        low, high = np.percentile(inliers, [1, 99], axis=0)
        return (low + high) / 2
    return np.median(c2w[:, :, 3], axis=0) if choice == "cameras" else look_at_point(c2w)


def _scale(
    choice: str | float, centre: np.ndarray, c2w: Poses, half_fov: np.ndarray, inliers: Points | None
) -> float:
    if not isinstance(choice, str):
        return float(choice)
    distance = np.linalg.norm(c2w[:, :, 3] - centre, axis=1)
    nearest = float(np.percentile(distance, 10))
    if choice == "cameras":
        return _positive(nearest, "the cameras stand in the centre")
    if choice == "look_at" or inliers is None:
        size = float(np.median(distance * half_fov))
    else:
        size = MARGIN * float(np.percentile(np.linalg.norm(inliers - centre, axis=1), 99))
    if choice == "auto" and nearest > 0:
        size = min(size, nearest)
    return _positive(size, "the points and cameras coincide")


def _positive(size: float, why: str) -> float:
    if not size > 1e-12:
        raise ValueError(f"the scene has no extent ({why}): give dataset.scale a number, in world units")
    return size


def without_outliers(points: Points) -> Float[np.ndarray, "q 3"]:
    """Points within 4 standard deviations of the median along every axis, by the median deviation.

    Twice, since the first round's spread is still the outliers' where they are many.
    """
    kept = points
    for _ in range(2):
        off = np.abs(kept - np.median(kept, axis=0))
        spread = 1.4826 * np.median(off, axis=0)
        # a plane has no spread across: a share of the largest stands in
        spread = np.maximum(spread, 0.1 * spread.max())
        inside = (off <= 4 * spread + 1e-12).all(1)
        kept = kept[inside]
    return kept


def look_at_point(c2w: Poses, rounds: int = 30) -> Float[np.ndarray, "3"]:
    """The point with the least sum of distances to the optical axes (reweighted least squares).

    A camera that looks elsewhere counts as one camera and does not pull by its distance. Where all
    axes are parallel there is none: then a point in front of the median camera, as far as the
    cameras are apart.
    """
    centres, d = c2w[:, :, 3], c2w[:, :, 2]
    across = np.eye(3) - d[:, :, None] * d[:, None]
    weight = np.ones(len(c2w))
    spread = float(np.linalg.norm(centres - np.median(centres, axis=0), axis=1).max())
    middle = np.median(centres, axis=0) + max(spread, 1e-6) * _unit(d.mean(0))
    if np.linalg.eigvalsh(across.mean(0))[0] < 1e-3:
        return middle
    point = middle
    for _ in range(rounds):
        A = (weight[:, None, None] * across).sum(0)
        b = (weight[:, None] * (across @ centres[:, :, None])[:, :, 0]).sum(0)
        point = np.linalg.solve(A, b)
        off = np.linalg.norm((across @ (point - centres)[:, :, None])[:, :, 0], axis=1)
        weight = 1 / np.maximum(off, 1e-6 * max(spread, 1e-12))
    return point


def upright(c2w: Poses) -> Float[np.ndarray, "3 3"]:
    """World axes of a frame whose z is the mean of the cameras' up, and whose x is nearest the world's x.

    Cameras that stand every way up have no mean: the axes stay.
    """
    up = -c2w[:, :, 1].mean(0)
    if np.linalg.norm(up) < 0.1:
        return np.eye(3)
    z = _unit(up)
    x = np.eye(3)[int(np.argmin(np.abs(z)))] if abs(z[0]) > 0.9 else np.array([1.0, 0, 0])
    x = _unit(x - (x @ z) * z)
    return np.stack([x, np.cross(z, x), z], 1)


def forward_facing(c2w: Poses) -> bool:
    """Whether cameras look the same way from beside each other (LLFF), and not around something."""
    d = c2w[:, :, 2]
    return bool(np.linalg.norm(d.mean(0)) > 0.95)


def apply(c2w: Poses, to_world: Float[np.ndarray, "4 4"]) -> Poses:
    """World camera poses in the normalised frame."""
    scale = similarity_scale(to_world)
    rotation = to_world[:3, :3] / scale
    centre = (c2w[:, :, 3] - to_world[:3, 3]) @ rotation / scale
    return np.concatenate([rotation.T @ c2w[:, :, :3], centre[:, :, None]], 2)


def read_extension(meta: Mapping[str, Any], file: Path) -> tuple[Float[np.ndarray, "4 4"], str] | None:
    """``to_world`` and the world's unit from a json's 'isosweep' field (docs/data.md); None without one.

    Raises:
        ValueError: the field is there and holds no similarity.
    """
    found = meta.get(EXTENSION)
    if found is None:
        return None
    try:
        matrix = np.array(found["to_world"], np.float64)
        unit = str(found.get("world_unit", "unit"))
        if matrix.shape != (4, 4):
            raise ValueError(f"found {matrix.shape}")
        similarity_scale(matrix)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{file}: '{EXTENSION}' needs to_world, a 4x4 matrix that maps normalised points to the user's "
            f"({error!r}): write the scene again, or remove the field"
        ) from error
    return matrix, unit


def extension_file(folder: Path) -> tuple[Float[np.ndarray, "4 4"], str] | None:
    """The frame in ``isosweep.json`` of a scene's folder; None where there is no such file."""
    file = folder / f"{EXTENSION}.json"
    if not file.is_file():
        return None
    try:
        meta = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is no json ({error}): write it again, or remove it") from error
    return read_extension({EXTENSION: meta}, file)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
