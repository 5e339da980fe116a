"""Converts meshes to the format that trackers accept."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isosweep.errors import InputError
from isosweep.runtime.mesh_file import require_mesh_file

MESH_LIMIT_BYTES = 25_000_000


@contextmanager
def as_glb(mesh: Path, folder: Path, tracker: str) -> Iterator[Path]:
    """The mesh as a .glb file in a temporary folder below ``folder``, deleted afterwards.

    Raises ValueError, which names ``tracker``, if the file is larger than MESH_LIMIT_BYTES.
    """
    import trimesh

    with tempfile.TemporaryDirectory(prefix=".tracker-", dir=folder) as place:
        glb = Path(place) / "mesh.glb"
        require_mesh_file(mesh)
        trimesh.load_mesh(mesh, file_type=mesh.suffix[1:].lower()).export(glb)
        size = glb.stat().st_size
        if size > MESH_LIMIT_BYTES:
            limit = MESH_LIMIT_BYTES / 1e6
            raise InputError(f"{size / 1e6:.0f} MB, {tracker} takes {limit:.0f} MB at most")
        yield glb
