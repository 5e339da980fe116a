"""Finds the sparse model of a COLMAP scene among the folders in which programs leave them."""

import struct
from pathlib import Path

PARTS = ("cameras", "images", "points3D")
_PLACES = ("sparse/*", "sparse", "colmap/sparse/*", "sparse_txt", "distorted/sparse/*", "bin", "txt")
"""Where a model may lie below the scene's folder, in the order in which they are tried."""


def find_model(scene: Path) -> Path | None:
    """The folder of a scene's model: the scene itself, the largest of sparse/*, or sparse/.

    After these, colmap/sparse/* (nerfstudio's layout), sparse_txt/, distorted/sparse/* (3DGS before undistortion),
    bin/ and txt/ are tried. The mapper numbers its models in the order in which they began, so sparse/0 may be a
    fragment; the largest is the one that registers most images, the first of equal ones. None where no folder has a
    model.
    """
    if ending(scene) is not None:
        return scene
    for pattern in _PLACES:
        found = [p for p in sorted(scene.glob(pattern)) if ending(p) is not None]
        if found:
            return max(found, key=n_registered)
    return None


def other_models(model: Path, scene: Path) -> list[Path]:
    """The models beside the one that was found: those of the same pattern of folders."""
    for pattern in _PLACES:
        found = [p for p in sorted(scene.glob(pattern)) if ending(p) is not None]
        if model in found:
            return [p for p in found if p != model]
    return []


def n_registered(model: Path) -> int:
    """The number of images that a model registers, without reading all of it; 0 where that cannot be told."""
    suffix = ending(model)
    file = model / f"images{suffix}"
    if suffix == ".bin":
        with file.open("rb") as opened:
            head = opened.read(8)
        return struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    count = 0
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            count += not line.startswith("#") and is_image_line(line)
    return count


def is_image_line(line: str) -> bool:
    """Whether a line of images.txt is the first of an image: nine numbers, then a name that is none."""
    fields = line.split(None, 9)
    if len(fields) < 10:
        return False
    try:
        [float(field) for field in fields[:9]]
    except ValueError:
        return False
    try:
        float(fields[9].split()[0])
    except ValueError:
        return True
    return len(line.split()) == 10  # a name may be a number, and features come in threes


def ending(folder: Path) -> str | None:
    """'.bin' or '.txt': the ending that all three files of a model have in ``folder``, binary first as in COLMAP.

    None where the folder has no model.
    """
    for suffix in (".bin", ".txt"):
        if all((folder / f"{part}{suffix}").is_file() for part in PARTS):
            return suffix
    return None
