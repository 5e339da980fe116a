"""Denormal numbers are zero on the CPU, in torch's own threads too."""

import subprocess
import sys

CODE = """
import torch
from isosweep.ops.cpu.denormals import flush_denormals
assert flush_denormals()
torch.set_num_threads(2)
tiny = torch.full((1_000_000,), 1e-40)
print(int((tiny * 0.5).count_nonzero()), flush=True)
import warnings
warnings.simplefilter("error")
import numpy as np
np.finfo(np.float32), np.finfo(np.float64)
"""


def test_every_thread_takes_them_as_zero_and_numpy_does_not_complain():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"
    assert done.stderr == ""
