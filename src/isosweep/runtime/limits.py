"""Limits on what a file of other people may ask of this machine, each set by an environment variable.

A file of half a megabyte may announce an image of gigabytes, or a million views. A limit refuses it with a message that
names the variable; whoever has such a file and the memory raises it: ISOSWEEP_MAX_MEGAPIXELS=200 python main.py ...
"""

import math
import os
from dataclasses import dataclass
from typing import final

from isosweep.errors import InputError


@final
@dataclass(frozen=True)
class Limit:
    """A number that an environment variable raises or lowers."""

    variable: str
    usual: int

    @property
    def value(self) -> int:
        """The limit in this process.

        Raises:
            InputError: the variable is no whole number above 0.
        """
        given = os.environ.get(self.variable, "").strip()
        if not given:
            return self.usual
        if not given.isdecimal() or len(given) > 15 or int(given) < 1:
            raise InputError(
                f"{self.variable}={given[:40]}: it is a whole number above 0; unset, it is {self.usual}"
            )
        return int(given)

    def raised(self, needed: float) -> str:
        """How to allow ``needed``, in words."""
        return f"{self.variable}={math.ceil(needed)} in front of the command allows it"


MEGAPIXELS = Limit("ISOSWEEP_MAX_MEGAPIXELS", 128)
"""Of an image: it takes some 8 bytes a pixel while it is decoded. The largest usual cameras have 102."""
FRAMES = Limit("ISOSWEEP_MAX_FRAMES", 200_000)
"""Of a transforms json: reading takes some 10 kB and 0.1 ms a frame before any image is opened."""
ARRAY_MEBIBYTES = Limit("ISOSWEEP_MAX_ARRAY_MIB", 64)
"""Of an array in a .npy or .npz file, after decompression. 100,000 matrices of float64 have 13."""
MESH_MEBIBYTES = Limit("ISOSWEEP_MAX_MESH_MIB", 4096)
"""Of a file of a mesh or of points. A scan of 100 million points has 1500."""
