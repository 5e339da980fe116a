"""Where a number comes from: versions and machine. The commit and its changes are in source_patch.py."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

PACKAGES: tuple[str, ...] = (
    "isosweep",
    "torch",
    "numpy",
    "numba",
    "triton",
    "hydra-core",
    "omegaconf",
    "msgspec",
    "torchmetrics",
    "trimesh",
    "embreex",
    "scikit-image",
    "scipy",
    "pillow",
    "av",
    "wandb",
    "tinycudann",
    "nerfacc",
)


def versions() -> dict[str, str]:
    """Python, the platform and every installed package that may take part in a run."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # optional, or a source tree that is not installed
    return found


def ram_peak_bytes() -> int | None:
    """Peak resident memory of this process so far; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count what ran before exec
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if os.name != "posix":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
