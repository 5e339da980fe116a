"""What the command lines of our own baselines share: the scene's folder, the box, and a mesh as the result."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from isosweep.errors import UserError
from isosweep.meshes.files import write_mesh
from isosweep.types import Mesh


def arguments(about: str | None) -> argparse.ArgumentParser:
    """A parser with --data, --out and --radius."""
    own = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    own.add_argument("--data", type=Path, required=True, help="the prepared scene")
    own.add_argument("--out", type=Path, required=True, help="gets mesh.ply")
    own.add_argument("--radius", type=float, default=1.0, help="half the side of the box")
    return own


def written(make: Callable[[], Mesh], out: Path) -> int:
    """Make a mesh and write it as mesh.ply; the exit code, 1 where an error was told."""
    try:
        mesh = make()
        (path,) = write_mesh(mesh, out / "mesh")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(mesh.vertices)} vertices, {len(mesh.faces)} faces: {path}")
    return 0
