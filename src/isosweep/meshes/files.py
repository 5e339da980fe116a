"""Read and write mesh files: ply, obj, stl, glb.

Trimesh reads damaged files in part, without an error. A file that is scored must be whole, so it is checked here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from isosweep.config.settings import MESH_FORMATS
from isosweep.errors import InputError
from isosweep.runtime.files import atomic_write_bytes
from isosweep.runtime.mesh_file import require_mesh_file
from isosweep.runtime.ply import announced
from isosweep.types import Mesh

ENDINGS = (".ply", ".obj", ".stl", ".glb", ".gltf", ".off")


def read_mesh(path: Path, faces: bool = False) -> Mesh:
    """Read the vertices [N, 3] (float64) and faces [F, 3] of a file, in the file's units and order.

    The parts of a scene (glb) are joined in the scene's frame.

    Args:
        faces: refuse a file without faces.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file's ending is not that of a mesh; it cannot be read, or is cut off; it has no vertices, or
            vertices that are not finite; a face has a corner that does not exist; or it has no faces, and needs them.
    """
    import trimesh

    if not path.is_file():
        raise FileNotFoundError(f"no mesh at {path}: check the path")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path} has the ending '{path.suffix}'; meshes are read from {', '.join(ENDINGS)}")
    require_mesh_file(path)
    try:
        # materials may name image files, which are not needed here
        plain: dict[str, Any] = {"skip_materials": True} if path.suffix.lower() == ".obj" else {}
        loaded: Any = trimesh.load(path, file_type=path.suffix[1:].lower(), process=False, **plain)
        if isinstance(loaded, trimesh.Scene):
            loaded = loaded.to_mesh()
        vertices = np.asarray(loaded.vertices, dtype=np.float64).reshape(-1, 3)
        index = np.asarray(getattr(loaded, "faces", np.zeros((0, 3), dtype=np.int64)))
    except Exception as error:  # every reader raises its own types
        raise InputError(
            f"cannot read the mesh {path} ({path.stat().st_size} bytes): {type(error).__name__}: {error}. "
            "It is damaged, cut off or of another format: write or copy it again"
        ) from error
    del loaded
    if path.suffix.lower() == ".ply":
        _check_counts(path, len(vertices), len(index))
    if len(vertices) == 0:
        raise InputError(f"the mesh {path} is empty, it has no vertex: nothing can be scored")
    bad = int((~np.isfinite(vertices)).any(axis=1).sum())
    if bad:
        raise InputError(
            f"the mesh {path} has {bad} vertices of {len(vertices)} that are not finite: write it again"
        )
    if faces and len(index) == 0:
        raise InputError(
            f"{path} has {len(vertices)} vertices and no faces: a surface is scored, not a cloud; mesh it first"
        )
    if len(index) and (index.min() < 0 or index.max() >= len(vertices)):
        raise InputError(
            f"the mesh {path} has faces with corners {index.min()} to {index.max()}, but only {len(vertices)} "
            "vertices: it is damaged; write it again"
        )
    return Mesh(vertices, index)


def _check_counts(path: Path, vertices: int, faces: int) -> None:
    """Refuse a ply file if fewer elements were read than its header announces."""
    counts = announced(path)
    for name, found in (("vertex", vertices), ("face", faces)):
        # there may be more faces than announced: polygons are read as several triangles
        if found < counts.get(name, 0):
            raise InputError(
                f"the mesh {path} announces {counts[name]} elements '{name}' and {found} could be read: it "
                "is cut off or damaged; copy it again"
            )


def write_mesh(mesh: Mesh, stem: Path, formats: Sequence[str] = ("ply",)) -> list[Path]:
    """Write a mesh as ``stem`` with the ending of each format: ply (binary), obj, stl (without colours), glb.

    Each file is written whole or not at all.

    Raises:
        InputError: there is no such format.
    """
    import trimesh

    unknown = [f for f in formats if f not in MESH_FORMATS]
    if unknown:
        raise InputError(f"no mesh format '{unknown[0]}': export.formats takes {', '.join(MESH_FORMATS)}")
    made = trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_colors=None if mesh.colors is None else to_bytes(mesh.colors[:, None])[:, 0],
        process=False,
    )
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix in formats:
        data = made.export(file_type=suffix)
        path = stem.with_name(f"{stem.name}.{suffix}")
        atomic_write_bytes(path, data.encode() if isinstance(data, str) else bytes(data))
        paths.append(path)
    return paths


def to_bytes(image: Float[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """An image in [0, 1] as 8-bit numbers: clipped and rounded; NaN becomes 0."""
    return (np.nan_to_num(image, nan=0.0).clip(0, 1) * 255).round().astype(np.uint8)
