"""Meshes as trackers take them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isosweep.errors import InputError

MESH_LIMIT_BYTES = 25_000_000


@contextmanager
def as_glb(mesh: Path, folder: Path, tracker: str) -> Iterator[Path]:
    """The mesh as a .glb in a temporary place below ``folder``; ValueError where it is above 25 MB."""
    import trimesh

    with tempfile.TemporaryDirectory(prefix=".tracker-", dir=folder) as place:
        glb = Path(place) / "mesh.glb"
        trimesh.load_mesh(mesh).export(glb)
        size = glb.stat().st_size
        if size > MESH_LIMIT_BYTES:
            limit = MESH_LIMIT_BYTES / 1e6
            raise InputError(f"{size / 1e6:.0f} MB, {tracker} takes {limit:.0f} MB at most")
        yield glb
