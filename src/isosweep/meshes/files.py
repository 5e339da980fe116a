"""Meshes and clouds from files that anybody made: ply, obj, stl, glb.

Trimesh pads, cuts or drops what it does not like; a file that is scored is taken whole or refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from isosweep.config.settings import MESH_FORMATS
from isosweep.errors import InputError
from isosweep.record.files import atomic_write_bytes
from isosweep.types import Mesh

ENDINGS = (".ply", ".obj", ".stl", ".glb", ".gltf", ".off")


def read_mesh(path: Path, faces: bool = False) -> Mesh:
    """Vertices (float64) and faces as they are in the file; a scene's parts joined in its own frame.

    Args:
        faces: refuse a file without faces.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an ending that is no mesh, a file that cannot be read or is cut off, no vertices, vertices
            that are not finite, faces whose corners do not exist, or no faces where they are needed.
    """
    import trimesh

    if not path.is_file():
        raise FileNotFoundError(f"no mesh at {path}: check the path")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path} has the ending '{path.suffix}'; meshes are read from {', '.join(ENDINGS)}")
    try:
        # materials may name image files that nobody needs here
        plain: dict[str, Any] = {"skip_materials": True} if path.suffix.lower() == ".obj" else {}
        loaded: Any = trimesh.load(path, process=False, **plain)
        if isinstance(loaded, trimesh.Scene):
            loaded = loaded.to_mesh()
        vertices = np.asarray(loaded.vertices, dtype=np.float64).reshape(-1, 3)
        index = np.asarray(getattr(loaded, "faces", np.zeros((0, 3), dtype=np.int64)))
    except Exception as error:  # every reader has its own kinds
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
    """Refuse a ply of which fewer elements were read than its header announces."""
    with path.open("rb") as file:
        head = file.read(1 << 16).split(b"end_header")[0].splitlines()
    said = {
        line.split()[1]: int(line.split()[2])
        for line in head
        if line.startswith(b"element") and len(line.split()) == 3
    }
    for name, found in ((b"vertex", vertices), (b"face", faces)):
        # polygons become several triangles
        if found < said.get(name, 0):
            raise InputError(
                f"the mesh {path} announces {said[name]} elements '{name.decode()}' and {found} could be read: it is "
                "cut off or damaged; copy it again"
            )


def write_mesh(mesh: Mesh, stem: Path, formats: Sequence[str] = ("ply",)) -> list[Path]:
    """``stem`` with each suffix: ply (binary), obj, stl (no colours), glb; each whole or not at all."""
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
    """Clamped to [0, 1] and rounded to 8 bit; what is not a number becomes 0."""
    return (np.nan_to_num(image, nan=0.0).clip(0, 1) * 255).round().astype(np.uint8)
