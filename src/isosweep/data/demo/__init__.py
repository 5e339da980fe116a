"""The demo data set: a procedural scene whose exact surface is known, made on first use without a download.

May import: errors, geometry, types.
"""

from isosweep.data.demo.loader import load

__all__ = ["load"]
