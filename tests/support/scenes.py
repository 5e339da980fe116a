"""Small demo scenes on disk, in both layouts."""

import functools
from pathlib import Path

from isosweep.data.demo.make import Demo, make, write_blender, write_neus


@functools.cache
def tiny_demo(name: str = "mug") -> Demo:
    """8 training, 2 validation and 3 test views of 32x32; made once a process. Do not write to it."""
    return make(name, n_train=8, n_val=2, n_test=3, size=32, supersample=3, mesh_resolution=64)


def tiny_blender(folder: Path, name: str = "mug") -> Path:
    """The tiny demo in the blender layout at ``folder``/<name>."""
    write_blender(folder / name, tiny_demo(name))
    return folder / name


def tiny_neus(folder: Path, name: str = "mug", masks: bool = True) -> Path:
    """The tiny demo's training views in the NeuS layout at ``folder``/<name>."""
    write_neus(folder / name, tiny_demo(name), masks)
    return folder / name
