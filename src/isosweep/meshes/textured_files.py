"""Write textured meshes: obj with its mtl and png, and glb.

The texture's pixels are sRGB, as both formats ask. Coordinates are the mesh's own, in world units; no axis is turned.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.meshes.files import to_bytes
from isosweep.meshes.texture import Textured
from isosweep.meshes.topology import vertex_normals
from isosweep.runtime.files import atomic_write_bytes


def write_textured(made: Textured, stem: Path, suffix: str) -> dict[str, Path]:
    """Write ``stem``.obj with .mtl and .png, or ``stem``.glb, each whole or not at all; returns ending -> path."""
    files = _obj(made, stem.name) if suffix == "obj" else {"glb": _glb(made)}
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = {ending: stem.with_name(f"{stem.name}.{ending}") for ending in files}
    for ending, data in files.items():
        atomic_write_bytes(paths[ending], data)
    return paths


def _obj(made: Textured, name: str) -> dict[str, bytes]:
    """The files by ending. Faces name vertices, texture coordinates and normals apart: the mesh stays in one piece."""
    mesh, atlas = made.mesh, made.atlas
    normals = vertex_normals(mesh) if mesh.normals is None else mesh.normals
    lines = [f"mtllib {name}.mtl", "usemtl texture"]
    lines += ["v %.9g %.9g %.9g" % tuple(row) for row in mesh.vertices.tolist()]  # noqa: UP031 - half the time
    lines += ["vt %.9g %.9g" % tuple(row) for row in atlas.uv.tolist()]  # noqa: UP031
    lines += ["vn %.6g %.6g %.6g" % tuple(row) for row in normals.tolist()]  # noqa: UP031
    vertex, corner = mesh.faces + 1, atlas.faces + 1
    rows = np.stack([vertex, corner, vertex], axis=-1).reshape(-1, 9)
    lines += ["f %d/%d/%d %d/%d/%d %d/%d/%d" % tuple(row) for row in rows.tolist()]  # noqa: UP031
    material = f"newmtl texture\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {name}.png\n"
    # the image and the material first: an obj that is there can be opened
    return {
        "png": png_bytes(made),
        "mtl": material.encode(),
        "obj": ("\n".join(lines) + "\n").encode(),
    }


def png_bytes(made: Textured) -> bytes:
    """The texture as an 8-bit png."""
    buffer = io.BytesIO()
    _picture(made).save(buffer, format="png")
    return buffer.getvalue()


def _picture(made: Textured) -> Any:
    import PIL.Image

    return PIL.Image.fromarray(to_bytes(made.image))


def _glb(made: Textured) -> bytes:
    """The file's bytes. Photographs have their light in them, so the material is not lit once more."""
    import trimesh
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    mesh, atlas = made.mesh, made.atlas
    normals = vertex_normals(mesh) if mesh.normals is None else mesh.normals
    material = PBRMaterial(
        name="texture", baseColorTexture=_picture(made), metallicFactor=0.0, roughnessFactor=1.0
    )
    whole: Any = trimesh.Trimesh(
        mesh.vertices[atlas.vertex],
        atlas.faces,
        vertex_normals=normals[atlas.vertex],
        visual=TextureVisuals(uv=atlas.uv, material=material),
        process=False,
    )

    def unlit(tree: dict[str, Any]) -> None:
        for one in tree["materials"]:
            one["extensions"] = {"KHR_materials_unlit": {}}
        tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), "KHR_materials_unlit"]

    return bytes(whole.export(file_type="glb", tree_postprocessor=unlit))
