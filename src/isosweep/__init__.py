"""isosweep: a Hydra-composed laboratory for NeRF and NeuS.

Its packages are the rooms of the house, and so are types.py, geometry.py and errors.py. The docstring of each
says what it is and, after ``May import``, which other rooms its files may know (tests/test_layers.py).
"""

import os
import sys

__version__ = "0.1.0"

# PyTorch's OpenMP threads spin for milliseconds after each of its operations, on the cores where the
# kernels' own threads would run: a step took twice as long (docs/performance.md). The runtime reads this when
# torch loads it. Who has set anything about waiting has decided already.
if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "10000"
