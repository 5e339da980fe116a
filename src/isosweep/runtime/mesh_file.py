"""What a mesh file of other people is and announces, checked before a general reader sees it.

A reader unpacks an archive under the name of a mesh, and allocates what a few bytes announce: a glTF of a kilobyte may
have a trillion zeros, or one triangle placed a trillion times.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isosweep.errors import InputError
from isosweep.runtime.limits import MESH_MEBIBYTES
from isosweep.runtime.nested import nested_too_deeply
from isosweep.runtime.ply import require_counts

_ARCHIVES = {
    b"PK\x03\x04": "a zip archive", b"PK\x05\x06": "a zip archive", b"\x1f\x8b": "gzip data", b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data", b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a rar archive", b"\x28\xb5\x2f\xfd": "zstd data",
    b"%PDF": "a PDF", b"\x89PNG": "an image", b"\x7fELF": "a program",
}  # fmt: skip
_GLB_HEADER, _GLB_JSON = 20, 0x4E4F534A
_NUMBERS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


def require_mesh_file(path: Path) -> None:
    """Check that a file is what its ending says, as far as its first bytes and its announced counts tell.

    Raises:
        InputError: it is an archive, is larger than `isosweep.runtime.limits.MESH_MEBIBYTES`, or announces more than it
            can hold.
    """
    size, most = path.stat().st_size, MESH_MEBIBYTES.value << 20
    if size > most:
        raise InputError(
            f"the mesh {path} has {size >> 20} MiB, and {MESH_MEBIBYTES.value} are read at most: simplify it, or, if "
            f"the memory is there, {MESH_MEBIBYTES.raised(size / 2**20)}"
        )
    with path.open("rb") as file:
        head = file.read(_GLB_HEADER)
    for start, what in _ARCHIVES.items():
        if head.startswith(start):
            raise InputError(f"{path} is {what} and no {path.suffix[1:]} mesh: unpack or export it again")
    ending = path.suffix.lower()
    if ending == ".ply":
        require_counts(path)
    elif ending == ".glb":
        _require_gltf(path, _glb_json(path, head, size), size)
    elif ending == ".gltf":
        _require_gltf(path, path.read_bytes(), size)


def _glb_json(path: Path, head: bytes, size: int) -> bytes:
    if len(head) < _GLB_HEADER or not head.startswith(b"glTF"):
        raise InputError(f"{path} is no glb: it does not begin with 'glTF'. Export it again")
    length, kind = struct.unpack("<II", head[12:])
    if kind != _GLB_JSON or length > size - _GLB_HEADER:
        raise InputError(
            f"{path} announces {length} bytes of json and has {size}: it was cut off. Copy it again"
        )
    with path.open("rb") as file:
        file.seek(_GLB_HEADER)
        return file.read(length)


def _require_gltf(path: Path, text: bytes, size: int) -> None:
    """Check that accessors fit into the file, and that no mesh is placed more often than the bound allows."""
    try:
        if nested_too_deeply(text):
            raise ValueError("it is nested too deeply")
        tree = json.loads(text)
        counts = [_count(one) for one in tree.get("accessors", [])]
        accessors = zip(tree.get("accessors", []), counts, strict=True)
        loose = sum(
            n * _NUMBERS.get(str(one.get("type")), 16) * 4 for one, n in accessors if "bufferView" not in one
        )
        vertices = [_vertices(mesh, counts) for mesh in tree.get("meshes", [])]
        placed = _placed(tree.get("nodes", []), vertices)
        outside = [
            str(b["uri"]) for b in tree.get("buffers", []) if "uri" in b and not _is_beside(str(b["uri"]))
        ]
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise InputError(
            f"{path} is no glTF ({type(error).__name__}: {str(error)[:200]}): export it again"
        ) from error
    most = MESH_MEBIBYTES.value << 20
    if path.suffix.lower() == ".glb" and max(counts, default=0) > size and not loose:
        raise InputError(
            f"{path} announces {max(counts)} values in {size} bytes: it is damaged. Export it again"
        )
    if loose > most or placed * 24 > most:
        raise InputError(
            f"{path} becomes a mesh of {max(loose, placed * 24) >> 20} MiB, and {MESH_MEBIBYTES.value} are read at "
            f"most: export it again, or {MESH_MEBIBYTES.raised(max(loose, placed * 24) / 2**20)}"
        )
    if outside:
        raise InputError(f"{path} reads {outside[0][:80]}, which is not beside it: export it as one .glb")


def _count(accessor: Mapping[str, Any]) -> int:
    count = accessor["count"]
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"an accessor has the count {str(count)[:40]}")
    return count


def _vertices(mesh: Mapping[str, Any], counts: list[int]) -> int:
    return sum(
        counts[one["attributes"]["POSITION"]]
        for one in mesh["primitives"]
        if "POSITION" in one.get("attributes", {})
    )


def _placed(nodes: list[Any], vertices: list[int]) -> int:
    """Vertices of all nodes together; a node below two others counts twice, as readers place it twice."""
    known: dict[int, int] = {}

    def below(index: int, above: tuple[int, ...]) -> int:
        if index in above or len(above) > 100:
            raise ValueError("its nodes are nested in a circle or too deeply")
        if index not in known:
            node = nodes[index]
            own = vertices[node["mesh"]] if "mesh" in node else 0
            known[index] = own + sum(below(child, (*above, index)) for child in node.get("children", []))
        return known[index]

    children = {child for node in nodes for child in node.get("children", [])}
    roots = [i for i in range(len(nodes)) if i not in children]
    if nodes and not roots:
        raise ValueError("its nodes are nested in a circle")
    return sum(below(i, ()) for i in roots)


def _is_beside(uri: str) -> bool:
    """Whether a buffer is data, or a file in the folder of the glTF or below."""
    return uri.startswith("data:") or not (uri.startswith(("/", "\\")) or ".." in uri or ":" in uri)
