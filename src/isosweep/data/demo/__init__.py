"""The demo data set: a procedural scene with an exact surface."""

from isosweep.data.demo.loader import load

__all__ = ["load"]
