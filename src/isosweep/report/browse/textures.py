"""Packs a mesh with its texture: all its faces, since a reduced mesh would need another texture.

The mesh is text as in `meshes`, with texture coordinates. The texture is a webp in a data address: a page opened from
disk may not give the pixels of a file to WebGL.
"""

import base64
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.errors import InputError
from isosweep.record.reading import Unreadable, json_values
from isosweep.report.browse.guard import regular
from isosweep.report.browse.images import MOST_PIXELS, QUALITY
from isosweep.report.browse.meshes import FARTHEST, pack, require_indices

MOST_FACES = 200_000
"""A mesh with more faces is not put on the page: it would be 2.5 MB and more there."""


def has_texture(path: Path) -> bool:
    """Whether a glb holds an image, or an obj names a material, by the beginning of the file."""
    with regular(path).open("rb") as file:
        if path.suffix == ".obj":
            return file.read(512).lstrip().startswith(b"mtllib")
        head = file.read(20)  # magic, version, length of the file; length and kind of its json
        if head[:4] != b"glTF" or head[16:] != b"JSON":
            return False
        try:
            size = min(int.from_bytes(head[12:16], "little"), path.stat().st_size)
            return bool(json_values(file.read(size)).get("images"))
        except (Unreadable, AttributeError):  # the file is cut off, or its json is no mapping
            return False


def pack_textured(path: Path, pixels: int) -> dict[str, Any]:
    """The mesh of a glb as `PackedMesh` has it, and its texture of at most ``pixels`` along a side as ``image``.

    Raises:
        InputError: it is no glb, holds no mesh with one texture, or has more than ``MOST_FACES`` faces.
    """
    import trimesh

    if path.suffix != ".glb":
        raise InputError(
            f"the page shows textures of glb files: set export.formats=[glb], or open {path.name}"
        )
    try:
        # bytes, and no path or file, so that images elsewhere are not found and not copied to the page
        data = io.BytesIO(path.read_bytes())
        mesh: Any = trimesh.load_mesh(data, file_type="glb", process=False)
    except Exception as error:  # trimesh's readers raise errors of many types
        raise InputError(f"{path.name} cannot be read as a mesh: {type(error).__name__}: {error}") from error
    picture, uv = None, np.empty((0, 2))
    if mesh.visual.kind == "texture" and mesh.visual.uv is not None:
        picture = getattr(mesh.visual.material, "baseColorTexture", None)
        uv = np.asarray(mesh.visual.uv, dtype=np.float64)
    v, f = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
    if picture is None or not (len(f) and (np.abs(v) < FARTHEST).all() and np.isfinite(uv).all()):
        raise InputError(f"{path.name} holds no texture on a mesh of finite vertices")
    require_indices(path, v, f)
    if picture.width * picture.height > MOST_PIXELS:
        raise InputError(f"the texture of {path.name} announces {picture.width}x{picture.height} pixels")
    if len(f) > MOST_FACES:
        raise InputError(
            f"{path.name} has {len(f)} faces, and the page takes {MOST_FACES} with a texture: set "
            f"export.faces={MOST_FACES}, or open the file"
        )
    packed = pack(v, f, None, len(f), np.clip(uv, 0, 1))
    return {**asdict(packed), "image": _data_address(picture.convert("RGB"), pixels)}


def _data_address(picture: Any, pixels: int) -> str:
    import PIL.Image

    if max(picture.size) > pixels:
        picture.thumbnail((pixels, pixels), PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="webp", quality=QUALITY, method=3)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
