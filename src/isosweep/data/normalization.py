"""Finds the normalised frame of a capture: its origin, its unit of length, and its up direction.

The frame is returned as ``to_world``, the similarity [4, 4] from normalised points to world points.

Symbols: V views, P points, d viewing directions (unit). All arrays are float64 and in world coordinates; cameras are
OpenCV camera-to-world (x right, y down, z forward).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from isosweep.bounds import Number, Positive
from isosweep.data.numbers import as_numbers
from isosweep.errors import InputError
from isosweep.geometry import similarity_scale
from isosweep.runtime.text_file import read_json

Poses = Float[np.ndarray, "v 3 4"]
Points = Float[np.ndarray, "p 3"]
CENTRES = ("auto", "points", "look_at", "cameras")
SCALES = ("auto", "points", "look_at", "cameras")
ORIENTATIONS = ("auto", "up", "none")
EXTENSION = "isosweep"
"""The key in a transforms json, and the name of the json beside a COLMAP model, that give a known frame."""
MARGIN = 1.1
"""The unit is larger by this factor than what it has to hold."""
_FEW = 20
"""Scenes with fewer points are treated as scenes without points."""


@dataclass(frozen=True)
class FrameChoice:
    """How the normalised frame is found: the settings ``centre``, ``scale`` and ``orientation`` of a data set."""

    centre: str | Sequence[Number] = "auto"
    """The origin: 'points' is the middle of the structure-from-motion points without outliers; 'look_at' the point with
    the least sum of distances to the cameras' optical axes; 'cameras' the median of the camera centres; [x, y, z] a
    point in world units. 'auto' is points where there are any, else look_at."""
    scale: str | Positive = "auto"
    """One unit: 'points' is `MARGIN` times the radius that holds 99% of the points without outliers; 'look_at' the
    radius of the sphere that fills the image of the median camera; 'cameras' the distance of the nearest tenth of the
    cameras; a number is in world units. 'auto' is points, else look_at, but at most cameras."""
    orientation: str = "auto"
    """'up' and 'auto' turn the mean of the cameras' up directions to +z; 'none' keeps the world's axes."""

    @property
    def is_auto(self) -> bool:
        """Whether all three are 'auto', so that a frame that the data gives is used."""
        return self.centre == "auto" and self.scale == "auto" and self.orientation == "auto"


def check_choice(choice: FrameChoice) -> None:
    """Raise ValueError for a value that `FrameChoice` does not describe."""
    named: list[tuple[str, Any, tuple[str, ...], str]] = [
        ("centre", choice.centre, CENTRES, "a point [x, y, z] in world units"),
        ("scale", choice.scale, SCALES, "the length of one unit in world units"),
        ("orientation", choice.orientation, ORIENTATIONS, ""),
    ]
    for key, value, options, more in named:
        if isinstance(value, str):
            if value not in options:
                other = f", or {more}" if more else ""
                raise InputError(f"dataset.{key} is one of {', '.join(options)}{other}; found {value!r}")
        elif key == "centre" and (np.shape(value) != (3,) or not np.isfinite(np.array(value, float)).all()):
            raise InputError(f"dataset.centre is {more}, found {value}")
        elif key == "orientation":
            raise InputError(f"dataset.orientation is one of {', '.join(options)}; found {value!r}")
        elif key == "scale" and not (_is_number(value) and np.isfinite(value) and value > 0):
            raise InputError(f"dataset.scale is a positive number of world units, found {value}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def find_to_world(
    choice: FrameChoice,
    c2w: Poses,
    half_fov: Float[np.ndarray, " v"],
    points: Points | None,
) -> Float[np.ndarray, "4 4"]:
    """``to_world``: world = scale * rotation @ normalised + centre.

    Args:
        half_fov: tangent of half the narrower field of view of each camera.
        points: structure-from-motion points; None where there are none.

    Raises:
        ValueError: a value that `FrameChoice` does not describe; 'points' for a scene with too few points; or a scene
            without extent.
    """
    check_choice(choice)
    inliers = None if points is None or len(points) < _FEW else without_outliers(points)
    if inliers is None and "points" in (choice.centre, choice.scale):
        n = 0 if points is None else len(points)
        raise InputError(
            f"dataset.centre or dataset.scale is 'points', and the scene has {n} of them: use look_at or cameras"
        )
    if inliers is not None and not len(inliers):
        raise InputError("its points lie beyond what numbers hold, so they have no middle: make them again")
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
        assert inliers is not None, "find_to_world refuses 'points' without points"
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
        raise InputError(f"the scene has no extent ({why}): give dataset.scale a number, in world units")
    return size


def without_outliers(points: Points) -> Float[np.ndarray, "q 3"]:
    """The points within 4 robust standard deviations of the median along every axis.

    The robust standard deviation is 1.4826 times the median absolute deviation. The selection is done twice, since
    many outliers enlarge the deviation of the first round.
    """
    kept = points
    for _ in range(2):
        off = np.abs(kept - np.median(kept, axis=0))
        spread = 1.4826 * np.median(off, axis=0)
        # points on a plane have no deviation across it: take a tenth of the largest axis instead
        spread = np.maximum(spread, 0.1 * spread.max())
        inside = (off <= 4 * spread + 1e-12).all(1)
        kept = kept[inside]
    return kept


def look_at_point(c2w: Poses, rounds: int = 30) -> Float[np.ndarray, "3"]:
    """The point with the least sum of distances to the optical axes, by iteratively reweighted least squares.

    The sum of distances, not of squares, so that single cameras that look elsewhere have little influence. Parallel
    axes have no such point. Then it is the point ahead of the median of the camera centres, at the distance from
    there to the furthest camera.
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
        try:
            point = np.linalg.solve(A, b)
        except np.linalg.LinAlgError:  # one axis outweighs all others by more than a float holds
            return middle
        off = np.linalg.norm((across @ (point - centres)[:, :, None])[:, :, 0], axis=1)
        weight = 1 / np.maximum(off, 1e-6 * max(spread, 1e-12))
    return point


def upright(c2w: Poses) -> Float[np.ndarray, "3 3"]:
    """The rotation whose columns are a frame's axes: z is the mean of the cameras' up; x is the world's x
    made perpendicular to z, or another world axis where z is near the world's x.

    The identity where the cameras' up directions cancel out.
    """
    up = -c2w[:, :, 1].mean(0)
    if np.linalg.norm(up) < 0.1:
        return np.eye(3)
    z = _unit(up)
    x = np.eye(3)[int(np.argmin(np.abs(z)))] if abs(z[0]) > 0.9 else np.array([1.0, 0, 0])
    x = _unit(x - (x @ z) * z)
    return np.stack([x, np.cross(z, x), z], 1)


def forward_facing(c2w: Poses) -> bool:
    """Whether all cameras look in about the same direction (as in LLFF) and not from all around at something."""
    d = c2w[:, :, 2]
    return bool(np.linalg.norm(d.mean(0)) > 0.95)


def normalize_poses(c2w: Poses, to_world: Float[np.ndarray, "4 4"]) -> Poses:
    """Camera poses in normalised coordinates, from poses in world coordinates."""
    if np.array_equal(to_world, np.eye(4)):
        return c2w  # a product with it would turn -0 into 0
    scale = similarity_scale(to_world)
    rotation = to_world[:3, :3] / scale
    centre = (c2w[:, :, 3] - to_world[:3, 3]) @ rotation / scale
    return np.concatenate([rotation.T @ c2w[:, :, :3], centre[:, :, None]], 2)


def with_axes(c2w: Float[np.ndarray, "*v 3 4"], axes: str) -> Float[np.ndarray, "*v 3 4"]:
    """Poses that were read as OpenGL's, as ``dataset.axes`` says: y and z are turned back where they are OpenCV's."""
    return c2w * np.array([1.0, -1, -1, 1]) if axes == "opencv" else c2w


def read_extension(meta: Mapping[str, Any], file: Path) -> tuple[Float[np.ndarray, "4 4"], str] | None:
    """``to_world`` and the world unit from the field 'isosweep' of a json (docs/data.md); None without that field.

    Args:
        file: the json's path, for errors.

    Raises:
        ValueError: the field does not hold a similarity.
    """
    found = meta.get(EXTENSION)
    if found is None:
        return None
    try:
        matrix = as_numbers(found["to_world"])
        unit = str(found.get("world_unit", "unit"))
        if matrix.shape != (4, 4):
            raise InputError(f"found {matrix.shape}")
        similarity_scale(matrix)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{file}: '{EXTENSION}' needs to_world, a 4x4 matrix that maps normalised points to the user's "
            f"({error!r}): write the scene again, or remove the field"
        ) from error
    return matrix, unit


def read_extension_file(folder: Path) -> tuple[Float[np.ndarray, "4 4"], str] | None:
    """``to_world`` and the world unit from isosweep.json in a scene's folder; None where there is no such file.

    Raises:
        ValueError: the file is no json or does not hold a similarity.
    """
    file = folder / f"{EXTENSION}.json"
    if not file.is_file():
        return None
    return read_extension({EXTENSION: read_json(file, "the scene's box")}, file)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
