"""The focal length that a photograph's EXIF states, and whether it can belong to these pixels.

A photograph that was resized keeps its EXIF. Focal lengths in pixels of the sensor are then several
times too long for it, and a reconstruction that starts from them registers nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

SANE = (0.3, 6.0)
"""Focal length over the image's longer side: a 14 mm fisheye to a 216 mm telephoto lens on 35 mm film."""
SAME = 0.03
"""Relative difference up to which two focal lengths are one lens at one zoom."""
DIAGONAL = math.hypot(36, 24)
"""Of 35 mm film, in mm."""
_EXIF_IFD, _FOCAL, _FOCAL_35, _WIDE, _HIGH = 0x8769, 0x920A, 0xA405, 0xA002, 0xA003
_PLANE_X, _PLANE_UNIT = 0xA20E, 0xA210
_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}


@dataclass(frozen=True)
class Focal:
    """What is known before the reconstruction."""

    ratio: float | None
    """Focal length over the longer side; None where the EXIF says nothing that can be true."""
    note: str
    """Where it comes from, or why it is not used."""
    doubtful: bool = False
    """True where the EXIF did state one."""


def from_35mm(focal: float, width: int, height: int) -> float:
    """Ratio for a 35 mm equivalent, which refers to the diagonal (CIPA DCG-001)."""
    return focal / DIAGONAL * math.hypot(width, height) / max(width, height)


def read_focal(image: Image.Image) -> Focal:
    """From FocalLengthIn35mmFilm, else FocalLength with the sensor's resolution."""
    width, height = image.size
    exif = image.getexif().get_ifd(_EXIF_IFD)
    found: list[tuple[float, str]] = []
    if (f35 := _number(exif.get(_FOCAL_35))) is not None:
        found.append((from_35mm(f35, width, height), f"{f35:g} mm (35 mm equivalent)"))
    mm, plane = _number(exif.get(_FOCAL)), _number(exif.get(_PLANE_X))
    if mm is not None and plane is not None:
        pixels = mm * plane / _MM.get(exif.get(_PLANE_UNIT, 2), 25.4)
        longer = max(_number(exif.get(_WIDE)) or 0, _number(exif.get(_HIGH)) or 0) or max(width, height)
        found.append((pixels / longer, f"{mm:g} mm at {plane:g} pixels a unit of the sensor"))
    for ratio, said in found:
        if SANE[0] <= ratio <= SANE[1]:
            return Focal(ratio, said)
    if not found:
        return Focal(None, "no focal length in the EXIF")
    ratio, said = found[0]
    return Focal(
        None,
        f"EXIF focal length {said} would be {ratio:.1f} times the image's longer side ({max(width, height)} "
        f"pixels): it was written for another image, and is not used",
        True,
    )


def _number(value: object) -> float | None:
    try:
        number = float(value)  # pyright: ignore[reportArgumentType] - whatever a file holds
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


@dataclass(frozen=True)
class Group:
    """Photographs that share one camera."""

    width: int
    height: int
    ratio: float | None
    members: tuple[int, ...]

    @property
    def focal(self) -> float | None:
        """Pixels."""
        return None if self.ratio is None else self.ratio * max(self.width, self.height)


def group_cameras(
    sizes: list[tuple[int, int]], ratios: list[float | None], camera: str = "auto"
) -> tuple[list[Group], list[str]]:
    """Which photographs (width, height) share a camera, and what has to be said about it.

    'auto': one camera for each size and focal length. Without a focal length a photograph joins the
    largest camera of its size. One or two photographs whose EXIF differs from all others of their size
    keep a camera of their own and lose the stated focal length: it is more likely wrong than a zoom.

    Raises:
        ValueError: 'single' for photographs of several sizes.
    """
    if camera == "per-image":
        return [Group(*s, r, (i,)) for i, (s, r) in enumerate(zip(sizes, ratios, strict=True))], []
    if camera == "single" and len(set(sizes)) > 1:
        shown = ", ".join(f"{sizes.count(s)} of {s[0]}x{s[1]}" for s in sorted(set(sizes)))
        raise ValueError(
            f"--camera single: the photographs have several sizes ({shown}), and one camera has one. Use "
            "--camera auto, which takes one camera a size"
        )
    groups, said = [], []
    for size in sorted(set(sizes)):
        members = [i for i, s in enumerate(sizes) if s == size]
        known = [(i, r) for i in members if (r := ratios[i]) is not None]
        clusters = _clusters(known) if camera == "auto" else [known] if known else []
        clusters.sort(key=len, reverse=True)
        if not clusters:
            groups.append(Group(*size, None, tuple(members)))
            continue
        alone = [c for c in clusters[1:] if len(c) <= 2 < len(clusters[0])]
        for cluster in clusters:
            own = {i for i, _ in cluster}
            ratio = float(np.median([r for _, r in cluster]))
            if cluster is clusters[0]:
                own |= {i for i in members if ratios[i] is None}
            if cluster in alone:
                said.append(
                    f"{len(own)} of {len(members)} photographs of {size[0]}x{size[1]} state a focal length of "
                    f"{ratio:.2f} times the longer side, the others {np.median([r for _, r in clusters[0]]):.2f}: "
                    "it is not used for them"
                )
            groups.append(Group(*size, None if cluster in alone else ratio, tuple(sorted(own))))
    return groups, said


def _clusters(known: list[tuple[int, float]]) -> list[list[tuple[int, float]]]:
    clusters: list[list[tuple[int, float]]] = []
    for item in sorted(known, key=lambda k: (k[1], k[0])):
        if clusters and item[1] <= clusters[-1][0][1] * (1 + SAME):
            clusters[-1].append(item)
        else:
            clusters.append([item])
    return clusters
