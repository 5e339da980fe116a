"""The focal length that a photograph's EXIF states, whether it is plausible, and which photographs share a camera.

Focal lengths are given as a ratio: focal length in pixels divided by the longer side of the image in pixels.
A program that resizes a photograph may leave its EXIF as it was. The stated resolution of the sensor then
gives a ratio that is several times too large, and a reconstruction that starts from it registers nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from isosweep.errors import InputError
from isosweep.runtime.image_file import exif_values

PLAUSIBLE = (0.3, 6.0)
"""Smallest and largest ratio: from an 11 mm to a 216 mm lens on 35 mm film, whose longer side is 36 mm."""
SAME_LENS = 0.03
"""Two focal lengths belong to one lens at one zoom if they differ by at most this fraction."""
FILM_DIAGONAL = math.hypot(36, 24)
"""Of 35 mm film, in mm."""
_EXIF_IFD, _FOCAL, _FOCAL_35, _WIDTH, _HEIGHT = 0x8769, 0x920A, 0xA405, 0xA002, 0xA003
_PLANE_X, _PLANE_UNIT = 0xA20E, 0xA210
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}
"""EXIF's FocalPlaneResolutionUnit: inch, cm, mm, micrometre."""


@dataclass(frozen=True)
class Focal:
    """What the EXIF says about the focal length. prepare.json stores the fields under these names."""

    ratio: float | None
    """None if the EXIF states no focal length, or an implausible one."""
    note: str
    """Where the ratio comes from, or why there is none."""
    doubtful: bool = False
    """True if the EXIF states an implausible focal length."""


def from_35mm(focal: float, width: int, height: int) -> float:
    """The ratio of a 35 mm equivalent ``focal`` in mm, for an image of ``width`` x ``height`` pixels.

    The equivalent compares diagonals (CIPA DCG-001): ratio = focal / film diagonal * image diagonal / longer side.
    """
    return focal / FILM_DIAGONAL * math.hypot(width, height) / max(width, height)


def read_focal(image: Image.Image) -> Focal:
    """Read the focal length from the EXIF: FocalLengthIn35mmFilm, else FocalLength and the sensor's resolution.

    The first plausible ratio is taken. The sensor's resolution refers to the size that the EXIF states for the
    image, and to the image's present size only if it states none.
    """
    width, height = image.size
    exif = exif_values(image, _EXIF_IFD)
    candidates: list[tuple[float, str]] = []
    if (f35 := _positive(exif.get(_FOCAL_35))) is not None:
        candidates.append((from_35mm(f35, width, height), f"{f35:g} mm (35 mm equivalent)"))
    mm, plane = _positive(exif.get(_FOCAL)), _positive(exif.get(_PLANE_X))
    if mm is not None and plane is not None:
        pixels = mm * plane / _MM_PER_UNIT.get(exif.get(_PLANE_UNIT, 2), 25.4)
        stated = max(_positive(exif.get(_WIDTH)) or 0, _positive(exif.get(_HEIGHT)) or 0)
        longer = stated or max(width, height)
        candidates.append((pixels / longer, f"{mm:g} mm with {plane:g} pixels per unit of the sensor"))
    for ratio, description in candidates:
        if PLAUSIBLE[0] <= ratio <= PLAUSIBLE[1]:
            return Focal(ratio, description)
    if not candidates:
        return Focal(None, "no focal length in the EXIF")
    ratio, description = candidates[0]
    return Focal(
        None,
        f"EXIF focal length {description} would be {ratio:.1f} times the image's longer side ({max(width, height)} "
        f"pixels): it was written for another image, and is not used",
        True,
    )


def _positive(value: object) -> float | None:
    """The value as a finite number above 0, or None."""
    try:
        number = float(value)  # pyright: ignore[reportArgumentType] - a file may hold anything here
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


@dataclass(frozen=True)
class Group:
    """Photographs that share one camera."""

    width: int
    height: int
    ratio: float | None
    """None if the focal length is unknown."""
    members: tuple[int, ...]
    """Indices of the photographs."""

    @property
    def focal(self) -> float | None:
        """Focal length in pixels."""
        return None if self.ratio is None else self.ratio * max(self.width, self.height)


def group_cameras(
    sizes: list[tuple[int, int]], ratios: list[float | None], camera: str = "auto"
) -> tuple[list[Group], list[str]]:
    """Decide which photographs share a camera.

    'per-image' gives every photograph its own camera, 'single' gives all the same. 'auto' makes one camera for
    each size and focal length, with two additions. A photograph without a focal length joins the largest group
    of its size. One or two photographs whose focal length differs from the others of their size keep their own
    camera but lose the stated value: it is more likely wrong than a zoom.

    Args:
        sizes: width and height of each photograph, in pixels.
        ratios: focal length over longer side of each photograph, None if unknown.
        camera: 'auto', 'single' or 'per-image'.

    Returns:
        The groups, and a warning for each group whose stated focal length is dropped.

    Raises:
        ValueError: 'single' for photographs of several sizes.
    """
    if camera == "per-image":
        return [Group(*s, r, (i,)) for i, (s, r) in enumerate(zip(sizes, ratios, strict=True))], []
    if camera == "single" and len(set(sizes)) > 1:
        counts = ", ".join(f"{sizes.count(s)} of {s[0]}x{s[1]}" for s in sorted(set(sizes)))
        raise InputError(
            f"--camera single: the photographs have several sizes ({counts}), and one camera has one. Use "
            "--camera auto, which makes one camera for each size"
        )
    groups, warnings = [], []
    for size in sorted(set(sizes)):
        members = [i for i, s in enumerate(sizes) if s == size]
        known = [(i, r) for i in members if (r := ratios[i]) is not None]
        clusters = _clusters(known) if camera == "auto" else [known] if known else []
        clusters.sort(key=len, reverse=True)
        if not clusters:
            groups.append(Group(*size, None, tuple(members)))
            continue
        for cluster in clusters:
            is_largest = cluster is clusters[0]
            dropped = not is_largest and len(cluster) <= 2 < len(clusters[0])
            ratio = float(np.median([r for _, r in cluster]))
            joined = [i for i in members if ratios[i] is None] if is_largest else []
            indices = tuple(sorted([*(i for i, _ in cluster), *joined]))
            if dropped:
                warnings.append(
                    f"{len(indices)} of {len(members)} photographs of {size[0]}x{size[1]} state a focal length of "
                    f"{ratio:.2f} times the longer side, the others {np.median([r for _, r in clusters[0]]):.2f}: "
                    "it is not used for them"
                )
            groups.append(Group(*size, None if dropped else ratio, indices))
    return groups, warnings


def _clusters(known: list[tuple[int, float]]) -> list[list[tuple[int, float]]]:
    """Split (index, ratio) pairs, sorted by ratio, where a ratio leaves the lens of its cluster's first one."""
    clusters: list[list[tuple[int, float]]] = []
    for item in sorted(known, key=lambda k: (k[1], k[0])):
        if clusters and item[1] <= clusters[-1][0][1] * (1 + SAME_LENS):
            clusters[-1].append(item)
        else:
            clusters.append([item])
    return clusters
