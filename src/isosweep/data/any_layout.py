"""Which layouts a folder of photographs with cameras has, and the scene in it by the first of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from isosweep.data import (
    blender,
    colmap,
    demo,
    linemod,
    llff,
    nerfstudio,
    neus,
    nsvf,
    scannet,
    scannetpp,
    split_folders,
    tanks_and_temples,
)
from isosweep.data.loading import ViewOptions
from isosweep.types import Scene


class Layout(NamedTuple):
    """How a layout is known and read."""

    fits: Callable[[Path], bool]
    """Whether a folder has it."""
    load: Callable[[ViewOptions], Scene]
    holds: str
    """What such a folder holds, in words."""


LAYOUTS = {
    "demo": Layout(lambda folder: (folder / "demo.json").is_file(), demo.load, "demo.json"),
    "colmap": Layout(colmap.is_scene, colmap.load, "sparse/0 with images/"),
    "nerfstudio": Layout(
        lambda folder: (folder / nerfstudio.FILE).is_file(), nerfstudio.load, "transforms.json"
    ),
    "dtu": Layout(neus.is_scene, neus.load, "cameras_sphere.npz with image/, as bmvs"),
    "scannetpp": Layout(scannetpp.is_scene, scannetpp.load, "dslr/"),
    "scannet": Layout(scannet.is_scene, scannet.load, "color/ and pose/"),
    "nsvf": Layout(nsvf.is_scene, nsvf.load, "rgb/ and pose/"),
    "deepvoxels": Layout(split_folders.is_scene, split_folders.load, "rgb/ and pose/ below train/"),
    "linemod": Layout(linemod.is_scene, linemod.load, "transforms_train.json with intrinsic_matrix"),
    "blender": Layout(blender.is_scene, blender.load, "transforms_train.json"),
    "llff": Layout(llff.is_scene, llff.load, "poses_bounds.npy"),
    "tanks_and_temples": Layout(
        lambda folder: any(folder.glob(tanks_and_temples.LOG)), tanks_and_temples.load, "*_COLMAP_SfM.log"
    ),
}
"""Option of ``dataset`` -> its layout. Of several the first is taken: layouts with points come first."""


def layouts_of(folder: Path) -> list[str]:
    """The layouts that a folder has, by the options of ``dataset`` that read them; the first is taken.

    Raises:
        FileNotFoundError: there is no such folder, or it has none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of a scene at {folder}: check the path")
    if found := [name for name, layout in LAYOUTS.items() if layout.fits(folder)]:
        return found
    there = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "an empty folder"
    known = ", ".join(f"{layout.holds} ({name})" for name, layout in LAYOUTS.items())
    raise FileNotFoundError(f"{folder} is no scene: sought {known}; found {there}")


def load_folder(
    folder: Path, scene: str | None = None, test_every: int | None = None, downscale: int = 1
) -> Scene:
    """The scene in a folder, with masks where there are any, and the defaults of its loader.

    Args:
        scene: its name; None takes the folder's, and for a demo the one that it has.
        test_every: every so many views are held out, where the folder has no split of its own.
        downscale: side of the square of image pixels that one pixel is the mean of.

    Raises:
        FileNotFoundError, InputError: as `layouts_of` and the loaders.
    """
    layout = layouts_of(folder)[0]
    name = scene or folder.resolve().name
    if layout == "demo":
        name = str(json.loads((folder / "demo.json").read_text())["name"])
    views = ViewOptions(name, path=str(folder), test_every=test_every, downscale=downscale)
    return LAYOUTS[layout].load(views)
