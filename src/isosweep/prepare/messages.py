"""What a preparation tells at its end and on the contact sheet, from the book of its steps."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.prepare.contact_sheet import SHEET
from isosweep.prepare.stages import Book

TRAIN = {
    "colmap": "dataset=colmap",
    "neus": "dataset=dtu dataset.name=prepared dataset.world_unit=unit",
    "blender": "dataset=blender",
    "nerfstudio": "dataset=nerfstudio",
}
"""How main.py reads each layout."""


def found(book: Book) -> list[str]:
    """What registered, the cameras, the region."""
    poses, left = book.facts("poses"), book.facts("images")["left"]
    n = len(poses["registered"]) + len(poses["unregistered"])
    lines = [
        f"{len(poses['registered'])} of {n} images registered, {poses['points']} points, reprojection error "
        f"{poses['error']:.2f} pixels"
    ]
    if poses["unregistered"]:
        lines.append(f"not registered: {some(poses['unregistered'])}")
    if left:
        lines.append(f"skipped: {some(list(left))}")
    region = book.facts("region")
    return [
        *lines,
        *book.facts("features")["said"],
        *poses["cameras"],
        f"one normalised unit is {region['radius']:.4g} units of the poses; region: {region['why']}",
    ]


def report(book: Book, layouts: tuple[str, ...]) -> list[str]:
    """Everything that a person needs to know before training, and the commands for it."""
    out = book.folder
    lines = [*([] if book.done else ["everything was up to date"]), *found(book)]
    partners, poses = book.facts("matches")["partners"], book.facts("poses")
    lines += [f"  {name}: fits {partners.get(name, 0)} other images" for name in poses["unregistered"][:8]]
    if len(poses["registered"]) < 0.5 * len(partners):
        lines.append(
            "WARNING: less than half is registered: the photographs fall into parts that do not overlap, or most are "
            "blurred; look at the contact sheet before training"
        )
    lines += [*book.facts("sheet")["lines"], f"contact sheet: {out / SHEET}"]
    return lines + train_commands(out, layouts, book.facts("flatten")["masked"])


def train_commands(out: Path, layouts: tuple[str, ...], masked: bool) -> list[str]:
    """The command line that trains on each layout."""
    model = "model=neus loss=mask" if masked else "model=neus_bg"
    name, path = (
        shlex.quote(f"{key}={quoted(value)}")
        for key, value in (("scene", out.resolve().name), ("dataset.path", str(out)))
    )
    return [f"python main.py {model} {TRAIN[layout]} {name} {path}" for layout in layouts]


def quoted(value: str) -> str:
    """A value as Hydra's grammar takes it: in quotes where it is more than letters, digits and ._-/ ."""
    plain = re.fullmatch(r"[\w./-]*[A-Za-z_][\w./-]*", value, re.ASCII)
    if plain and not re.fullmatch(r"null|true|false|[+-]?(inf|nan|[\d._]+e[+-]?\d+)", value, re.IGNORECASE):
        return value
    # the grammar takes a backslash as it is, but before a quote
    escaped = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"


def too_few(book: Book, what: str) -> str:
    """Why there is no reconstruction, and what to try."""
    counts = book.facts("features")["counts"]
    poor = [name for name, count in counts.items() if count < 200]
    few = f"; {len(poor)} images have fewer than 200 features, such as {poor[0]}" if poor else ""
    return (
        f"too few matches: {what} ({len(counts)} images, {int(np.median(list(counts.values())))} features an "
        f"image{few}). Photographs must overlap by two thirds, be sharp and show texture; try --features 8192, "
        "--size 2400, --matching exhaustive, --focal <35 mm equivalent>, or more photographs"
    )


def doubtful(photos: list[dict[str, Any]]) -> list[str]:
    """Focal lengths that are not used, each reason once."""
    of_note: dict[str, list[str]] = {}
    for photo in photos:
        if photo["focal"]["doubtful"]:
            of_note.setdefault(photo["focal"]["note"], []).append(photo["source"])
    return [
        f"{len(names)} of {len(photos)} photographs ({some(names)}): {note}"
        for note, names in of_note.items()
    ]


def some(names: list[str]) -> str:
    """The first names of a list."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
