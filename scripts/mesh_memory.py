"""How much memory the extraction of a mesh takes: a sphere of known signed distance, at several resolutions.

    python scripts/mesh_memory.py                  # 256 and 512 cells along the box
    python scripts/mesh_memory.py 256 512 1024

Each mesh is extracted and written in a process of its own, whose peak (resource.getrusage) includes Python and torch;
the first line is of a process that only loads them. A model adds the memory of its own evaluation, which
``export.chunk`` bounds. The sphere has 0.9 of the box's half side: it crosses more cells than most scenes' surfaces.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
RADIUS = 0.9


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("resolution", nargs="*", type=int, default=[256, 512], help="cells along the box")
    print("cells       faces   seconds   peak GiB")
    failed = False
    for resolution in [0, *parser.parse_args().resolution]:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            print(line(resolution), flush=True)
            os._exit(0)
        failed |= os.waitpid(child, 0)[1] != 0
    return int(failed)


def line(resolution: int) -> str:
    """Extract one mesh in this process, with colours and normals, and write it; 0 only loads the libraries."""
    import isosweep  # noqa: F401 - before torch, for its threads
    from isosweep.config.settings import ExportSettings
    from isosweep.meshes import extract, files

    began, faces = time.perf_counter(), 0
    if resolution:
        settings = ExportSettings(resolution=resolution)
        mesh = extract.export_mesh(Ball(), _scene(), _knobs(), settings)
        faces = len(mesh.faces)
        with tempfile.TemporaryDirectory() as folder:
            files.write_mesh(mesh, Path(folder) / "mesh")
    # kilobytes on Linux, bytes on macOS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f"{resolution:5d} {faces:11d} {time.perf_counter() - began:9.1f} {peak / 2**30:10.2f}"


class Ball:
    """A sphere; what `extract.Surface` asks of a model."""

    def level(self, points, knobs):
        return points.norm(dim=-1) - RADIUS

    def color(self, points, dirs, knobs):
        return 0.5 - dirs / 2


def _knobs():
    import torch

    from isosweep.types import Knobs

    return Knobs(0, torch.device("cpu"))


def _scene():
    """A box without views: extraction reads its radius and its world."""
    import numpy as np
    import torch

    from isosweep.types import Cameras, Scene

    none = Cameras(torch.zeros(0, 3, 4), torch.zeros(0, 3, 3), torch.zeros(0, 2, dtype=torch.long), 0.5)
    return Scene(
        name="ball",
        dataset="analytic",
        cameras=none,
        images=None,  # pyright: ignore[reportArgumentType] - no view, no image
        names=(),
        splits={},
        held_out=False,
        to_world=np.eye(4),
        world_unit="unit",
        radius=1.0,
        near_far=(0.0, 1.0),
        background=torch.ones(3),
        composite=False,
        use_masks=False,
    )


if __name__ == "__main__":
    sys.exit(main())
