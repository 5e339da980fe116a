"""What a preparation prints at its end and on the contact sheet, from the facts in its manifest."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.prepare.contact_sheet import SHEET
from isosweep.prepare.stages import Manifest

TRAIN = {
    "colmap": "dataset=colmap",
    "neus": "dataset=dtu dataset.name=prepared dataset.world_unit=unit",
    "blender": "dataset=blender",
    "nerfstudio": "dataset=nerfstudio",
}
"""Name of a layout -> the overrides by which main.py reads it."""
WITH_POINTS = {"colmap": "", "nerfstudio": " dataset=nerfstudio"}
"""Name of a layout with the points of the reconstruction -> what makes `RECIPES` read it."""
RECIPES = ("neus-bg-colmap", "nerf-bg-colmap")
"""Of conf/experiment, for whole photographs: a mesh, and new views."""
FAR = 3.0
"""Radii of the region from which on its cameras have air alone between them and it.

The box of nerf-bg-colmap is half as wide again as the region, for trees and lamps before it; in air, floaters grow.
"""


def summary(manifest: Manifest) -> list[str]:
    """Lines about the registered images, the cameras and the region; needs every stage up to the region."""
    poses, skipped = manifest.facts("poses"), manifest.facts("images")["left"]
    n = len(poses["registered"]) + len(poses["unregistered"])
    lines = [
        f"{len(poses['registered'])} of {n} images registered, {poses['points']} points, reprojection error "
        f"{poses['error']:.2f} pixels"
    ]
    if poses["unregistered"]:
        lines.append(f"not registered: {first_names(poses['unregistered'])}")
    if skipped:
        lines.append(f"skipped: {first_names(list(skipped))}")
    region = manifest.facts("region")
    return [
        *lines,
        *manifest.facts("features")["said"],
        *poses["cameras"],
        f"one normalised unit is {region['radius']:.4g} units of the poses; region: {region['why']}",
    ]


def final_report(manifest: Manifest, layouts: tuple[str, ...]) -> list[str]:
    """Lines for the terminal: what was found, warnings, and the commands that train on each layout."""
    out = manifest.folder
    lines = [*([] if manifest.ran else ["everything was up to date"]), *summary(manifest)]
    partners, poses = manifest.facts("matches")["partners"], manifest.facts("poses")
    lines += [f"  {name}: matches {partners.get(name, 0)} other images" for name in poses["unregistered"][:8]]
    if len(poses["registered"]) < 0.5 * len(partners):
        lines.append(
            "WARNING: fewer than half of the images are registered: the photographs fall into parts that do not "
            "overlap, or most are blurred; look at the contact sheet before training"
        )
    lines += [*manifest.facts("sheet")["lines"], f"contact sheet: {out / SHEET}"]
    nearest = manifest.facts("region").get("nearest", 0.0)  # an earlier version did not note it
    return lines + train_commands(out, layouts, manifest.facts("flatten")["masked"], nearest)


def train_commands(out: Path, layouts: tuple[str, ...], masked: bool, nearest: float = 0.0) -> list[str]:
    """The commands that train on each layout.

    With masks, NeuS takes them as supervision. Whole photographs get a learned background; a layout that holds the
    points of the reconstruction has two recipes, one for a mesh through the points, and one for new views.

    Args:
        nearest: distance of the nearest camera from the region's centre, in its radii.
    """
    boxes = {"nerf-bg-colmap": " dataset.radius=1"} if nearest >= FAR else {}
    name, path = (
        shlex.quote(f"{key}={quoted(value)}")
        for key, value in (("scene", out.resolve().name), ("dataset.path", str(out)))
    )
    commands = []
    for layout in layouts:
        if masked:
            methods = [f"model=neus loss=mask {TRAIN[layout]}"]
        elif layout in WITH_POINTS:
            methods = [
                f"experiment={recipe}{WITH_POINTS[layout]}{boxes.get(recipe, '')}" for recipe in RECIPES
            ]
        else:
            methods = [f"model=neus_bg {TRAIN[layout]}"]
        commands += [f"python main.py {method} {name} {path}" for method in methods]
    return commands


def quoted(value: str) -> str:
    """A string as an override's value in Hydra's grammar.

    It is put in quotes if it holds other characters than letters, digits and . _ - /, or if Hydra would read it
    as a number, a truth value or null.
    """
    plain = re.fullmatch(r"[\w./-]*[A-Za-z_][\w./-]*", value, re.ASCII)
    if plain and not re.fullmatch(r"null|true|false|[+-]?(inf|nan|[\d._]+e[+-]?\d+)", value, re.IGNORECASE):
        return value
    # in Hydra's grammar a backslash escapes only a quote and the backslashes before it
    escaped = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"


def too_few_matches(manifest: Manifest, what: str) -> str:
    """The error message of a reconstruction that failed for want of matches.

    Args:
        what: what is missing, in words.
    """
    counts = manifest.facts("features")["counts"]
    poor = [name for name, count in counts.items() if count < 200]
    few = f"; {len(poor)} images have fewer than 200 features, such as {poor[0]}" if poor else ""
    return (
        f"too few matches: {what} ({len(counts)} images, {int(np.median(list(counts.values())))} features an "
        f"image{few}). Photographs must overlap by two thirds, be sharp and show texture; try --features 8192, "
        "--size 2400, --matching exhaustive, --focal <35 mm equivalent>, or more photographs"
    )


def unused_focal_lengths(photos: list[dict[str, Any]]) -> list[str]:
    """A line for each reason why stated focal lengths are not used.

    Args:
        photos: the fields of each `photos.CopiedPhoto`, as prepare.json stores them.
    """
    by_reason: dict[str, list[str]] = {}
    for photo in photos:
        if photo["focal"]["doubtful"]:
            by_reason.setdefault(photo["focal"]["note"], []).append(photo["source"])
    return [
        f"{len(names)} of {len(photos)} photographs ({first_names(names)}): {reason}"
        for reason, names in by_reason.items()
    ]


def first_names(names: list[str]) -> str:
    """Up to five names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
