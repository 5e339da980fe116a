"""Load a folder of photographs with cameras, whatever of our layouts it has."""

import json
from collections.abc import Callable
from pathlib import Path

from isosweep.data import blender, colmap, demo, llff, nerfstudio, neus, nsvf, scannet, scannetpp
from isosweep.data.loading import ViewOptions
from isosweep.errors import InputError
from isosweep.types import Scene

LAYOUTS: dict[str, tuple[Callable[[Path], bool], Callable[[ViewOptions], Scene], str]] = {
    "demo": (lambda folder: (folder / "demo.json").is_file(), demo.load, "demo.json"),
    "neus": (neus.is_scene, neus.load, "image/ and cameras_sphere.npz"),
    "blender": (blender.is_scene, blender.load, "transforms_train.json"),
    "nerfstudio": (nerfstudio.is_scene, nerfstudio.load, "transforms.json"),
    "nsvf": (nsvf.is_scene, nsvf.load, "rgb/, pose/ and intrinsics.txt"),
    "llff": (llff.is_scene, llff.load, "poses_bounds.npy"),
    "scannetpp": (scannetpp.is_scene, scannetpp.load, "dslr/"),
    "scannet": (scannet.is_scene, scannet.load, "color/ and pose/"),
    "colmap": (colmap.is_scene, colmap.load, "images/ and sparse/"),
}
"""Name -> whether a folder has the layout, its loader, and what it holds; the first that fits is taken."""


def layout_of(folder: Path) -> str:
    """The name of the folder's layout.

    Raises:
        FileNotFoundError: there is no such folder.
        InputError: it has none of the layouts.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of a scene at {folder}: check the path")
    for name, (fits, _, _) in LAYOUTS.items():
        if fits(folder):
            return name
    there = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
    known = "; ".join(f"{name} ({holds})" for name, (_, _, holds) in LAYOUTS.items())
    raise InputError(f"{folder} holds {there}, which is none of the layouts that are read: {known}")


def load_folder(
    folder: Path, scene: str | None = None, test_every: int | None = None, downscale: int = 1
) -> Scene:
    """The scene in a folder, with masks where there are any, and the defaults of its loader.

    Args:
        scene: its name; None takes the folder's, and for a demo the one that it has.
        test_every: every so many views are held out, where the folder has no split of its own.
        downscale: side of the square of image pixels that one pixel is the mean of.

    Raises:
        FileNotFoundError, InputError: as `layout_of` and the loaders.
    """
    layout = layout_of(folder)
    name = scene or folder.resolve().name
    if layout == "demo":
        name = str(json.loads((folder / "demo.json").read_text())["name"])
    views = ViewOptions(name, path=str(folder), test_every=test_every, downscale=downscale)
    return LAYOUTS[layout][1](views)
