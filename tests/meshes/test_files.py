"""Meshes and clouds of every format come back whole, or are refused with the reason."""

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from isosweep.config import settings
from isosweep.errors import InputError
from isosweep.meshes import files
from isosweep.meshes.files import read_mesh
from isosweep.meshes.topology import merge_vertices
from isosweep.types import Mesh
from tests.support.analytic import sphere, torus

MESH = torus(sections=12)


def write(path: Path) -> Path:
    trimesh.Trimesh(MESH.vertices, MESH.faces, process=False).export(path)
    return path


@pytest.mark.parametrize("ending", ["ply", "PLY", "obj", "stl", "glb", "off"])
def test_every_format_keeps_its_triangles(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"mesh.{ending.lower()}").rename(tmp_path / f"mesh_.{ending}")
    mesh = read_mesh(path, faces=True)
    triangles, expected = (np.sort(m.vertices[m.faces].reshape(-1, 9), axis=0) for m in (mesh, MESH))
    np.testing.assert_allclose(triangles, expected, atol=1e-6)
    assert mesh.vertices.dtype == np.float64


def test_loose_vertices_and_clouds_stay(tmp_path: Path) -> None:
    """Vertices that no face uses are points of the DTU protocol; nothing is merged or cleaned."""
    vertices = np.concatenate([MESH.vertices, [[9, 9, 9], [9, 9, 9]]])
    trimesh.Trimesh(vertices, MESH.faces, process=False).export(tmp_path / "loose.ply")
    assert len(read_mesh(tmp_path / "loose.ply").vertices) == len(MESH.vertices) + 2
    trimesh.PointCloud(MESH.vertices).export(tmp_path / "cloud.ply")
    cloud = read_mesh(tmp_path / "cloud.ply")
    assert cloud.faces.shape == (0, 3)
    np.testing.assert_allclose(cloud.vertices, MESH.vertices, atol=1e-6)
    with pytest.raises(ValueError, match="no faces: a surface is scored, not a cloud"):
        read_mesh(tmp_path / "cloud.ply", faces=True)


def test_parts_of_a_scene_are_joined_in_its_frame(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    part = trimesh.Trimesh(MESH.vertices, MESH.faces, process=False)
    scene.add_geometry(part)
    scene.add_geometry(part.copy(), transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.export(tmp_path / "two.glb")
    mesh = read_mesh(tmp_path / "two.glb")
    assert len(mesh.faces) == 2 * len(MESH.faces)
    assert np.ptp(mesh.vertices[:, 0]) == pytest.approx(5 + np.ptp(MESH.vertices[:, 0]), abs=1e-5)


def text_ply(path: Path, vertices: list[str], faces: list[str]) -> Path:
    head = f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\n"
    head += "".join(f"property float {a}\n" for a in "xyz")
    head += f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    path.write_text(head + "\n".join(vertices + faces) + "\n")
    return path


def test_what_is_broken_is_refused(tmp_path: Path) -> None:
    corners = ["0 0 0", "1 0 0", "1 1 0", "0 1 0"]
    assert len(read_mesh(text_ply(tmp_path / "quad.ply", corners, ["4 0 1 2 3"])).faces) == 2
    cases: dict[str, tuple[Path, str]] = {
        "corner": (text_ply(tmp_path / "corner.ply", corners, ["3 0 1 7"]), "corners|cannot read the mesh"),
        "nan": (
            text_ply(tmp_path / "nan.ply", ["nan 0 0", *corners], ["3 0 1 2"]),
            "1 vertices of 5 .* not finite",
        ),
        "empty": (
            text_ply(tmp_path / "empty.ply", [], []),
            "is empty, it has no vertex|cannot read the mesh",
        ),
    }
    whole = write(tmp_path / "whole.ply").read_bytes()
    for name, data in (
        ("cut.ply", whole[: len(whole) * 2 // 3]),
        ("noise.ply", b"no ply at all\n" * 9),
        ("zero.ply", b""),
    ):
        (tmp_path / name).write_bytes(data)
        cases[name] = (tmp_path / name, "cut off or damaged|It is damaged, cut off|is no ply: no header")
    (tmp_path / "mesh.txt").write_text("0 0 0\n")
    cases["txt"] = (tmp_path / "mesh.txt", r"ending '\.txt'; meshes are read from \.ply")
    for name, (path, why) in cases.items():
        with pytest.raises(ValueError, match=why) as caught:
            read_mesh(path)
        assert str(path) in str(caught.value), name
    for absent in (tmp_path / "gone.ply", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no mesh at .*check the path"):
            read_mesh(absent)


@pytest.mark.parametrize("suffix", settings.MESH_FORMATS)
def test_files_are_read_back(suffix: str, tmp_path: Path) -> None:
    mesh = sphere(0.5, 2, (300, -200, 700))
    colors = np.linspace(0, 1, len(mesh.vertices))[:, None] * np.array([1.0, 0.5, 0.0])
    [path] = files.write_mesh(Mesh(mesh.vertices, mesh.faces, colors), tmp_path / "new" / "mesh.v1", [suffix])
    assert path == tmp_path / "new" / f"mesh.v1.{suffix}"
    read = trimesh.load(path, process=False, force="mesh")
    assert isinstance(read, trimesh.Trimesh)
    assert len(read.faces) == len(mesh.faces)
    np.testing.assert_allclose(read.bounds, [mesh.vertices.min(0), mesh.vertices.max(0)], atol=1e-3)
    if suffix != "stl":
        np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-3)
        got = np.asarray(read.visual.vertex_colors)[:, :3].astype(float)
        np.testing.assert_allclose(got, 255 * colors, atol=1.0)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_mesh_without_colours_is_written_without_them(tmp_path: Path) -> None:
    [path] = files.write_mesh(sphere(), tmp_path / "plain")
    assert b"red" not in path.read_bytes()[:400]


def test_a_header_of_many_comments_is_read_to_its_end(tmp_path: Path) -> None:
    """A text file that lost its last lines is noticed, also where its counts stand behind 40 KB of comments."""
    lines = ["ply", "format ascii 1.0", *["comment of a scanner"] * 2000, "element vertex 4"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += ["element face 2", "property list uchar int vertex_indices", "end_header"]
    corners, faces = ["0 0 0", "1 0 0", "0 1 0", "1 1 0"], ["3 0 1 2", "3 1 3 2"]
    whole, cut = tmp_path / "whole.ply", tmp_path / "cut.ply"
    whole.write_text("\n".join([*lines, *corners, *faces]) + "\n")
    assert read_mesh(whole).faces.tolist() == [[0, 1, 2], [1, 3, 2]]
    cut.write_text("\n".join([*lines, *corners, faces[0]]) + "\n")
    with pytest.raises(ValueError, match=r"cut off or damaged|damaged, cut off"):
        read_mesh(cut)


def test_ply_is_binary_and_an_unknown_format_is_refused(tmp_path: Path) -> None:
    [path] = files.write_mesh(sphere(), tmp_path / "mesh")
    assert b"format binary_little_endian" in path.read_bytes()[:100]
    with pytest.raises(ValueError, match=r"^no mesh format 'fbx': export\.formats takes ply, obj, stl, glb$"):
        files.write_mesh(sphere(), tmp_path / "other", ["ply", "fbx"])
    assert not (tmp_path / "other.ply").exists()


def test_a_folder_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "mesh.ply").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*mesh\.ply"):
        files.write_mesh(sphere(), tmp_path / "mesh")
    assert [p.name for p in tmp_path.iterdir()] == ["mesh.ply"]


def test_a_face_that_loses_any_two_of_its_corners_is_dropped() -> None:
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
    faces = np.array([[0, 1, 2], [0, 3, 1], [1, 0, 3], [3, 1, 0]])
    merged = merge_vertices(Mesh(corners, faces))
    assert len(merged.vertices) == 3
    np.testing.assert_array_equal(merged.vertices[merged.faces], corners[faces[:1]])


def glb(path: Path, tree: dict) -> Path:
    """A glb that is nothing but its json."""
    text = json.dumps({"asset": {"version": "2.0"}, **tree}).encode()
    text += b" " * (-len(text) % 4)
    head = b"glTF" + struct.pack("<II", 2, 20 + len(text)) + struct.pack("<II", len(text), 0x4E4F534A)
    path.write_bytes(head + text)
    return path


def instances(levels: int) -> dict:
    """One mesh of 3 vertices, placed 2 ** levels times."""
    nodes: list[dict] = [{"children": [i + 1, i + 1]} for i in range(levels)]
    return {
        "accessors": [{"count": 3, "type": "VEC3", "componentType": 5126}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [*nodes, {"mesh": 0}],
    }


@pytest.mark.parametrize("ending", files.ENDINGS)
@pytest.mark.parametrize(
    ("start", "what"), [(b"PK\x03\x04", "a zip archive"), (b"\x1f\x8b\x08", "gzip data")]
)
def test_an_archive_is_no_mesh_whatever_its_name(
    ending: str, start: bytes, what: str, tmp_path: Path
) -> None:
    (tmp_path / f"mesh{ending}").write_bytes(start + bytes(100))
    with pytest.raises(InputError, match=rf"mesh{re.escape(ending)} is {what} and no {ending[1:]} mesh"):
        read_mesh(tmp_path / f"mesh{ending}")


def test_announced_counts_are_compared_with_the_file(tmp_path: Path) -> None:
    huge = {"count": 10**12, "type": "VEC3", "componentType": 5126}
    deep: list[dict] = [{"children": [1]}, {"children": [0]}]
    cases = {
        r"announces 8000000 of 'vertex' in 37 bytes": (b"ply\nelement vertex 8000000\nend_header", ".ply"),
        r"becomes a mesh of 11444091 MiB, and 4096 are read": ({"accessors": [huge]}, ".glb"),
        r"announces 1000000000000 values in \d+ bytes": ({"accessors": [{**huge, "bufferView": 0}]}, ".glb"),
        r"becomes a mesh of \d+ MiB, .* ISOSWEEP_MAX_MESH_MIB=\d+ in front": (instances(60), ".glb"),
        r"is no glTF \(ValueError: its nodes are nested in a circle": ({"nodes": deep}, ".glb"),
        r"is no glTF \(ValueError: an accessor has the count -1": ({"accessors": [{"count": -1}]}, ".glb"),
        r"is no glTF \(ValueError: it is nested too deeply": (b"[" * 10000 + b"]" * 10000, ".gltf"),
        r"reads \.\./\.\./passwd, which is not beside it": (
            b'{"buffers": [{"uri": "../../passwd"}]}',
            ".gltf",
        ),
        r"is no glb: it does not begin with 'glTF'": (b"solid x\n" * 9, ".glb"),
        r"announces 4294967295 bytes of json": (
            b"glTF" + bytes(8) + b"\xff\xff\xff\xffJSON" + bytes(9),
            ".glb",
        ),
    }
    for number, (words, (content, ending)) in enumerate(cases.items()):
        path = tmp_path / f"{number}{ending}"
        if isinstance(content, dict):
            glb(path, content)
        else:
            path.write_bytes(content)
        with pytest.raises(InputError, match=words) as caught:
            read_mesh(path)
        assert str(path) in str(caught.value)


def test_the_size_of_a_mesh_file_is_bounded_by_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOSWEEP_MAX_MESH_MIB", "1")
    path = tmp_path / "mesh.obj"
    path.write_bytes(b"v 0 0 0\n" * (3 << 17))
    with pytest.raises(
        InputError, match=r"mesh.obj has 3 MiB, and 1 are read at most.*ISOSWEEP_MAX_MESH_MIB=3 in front"
    ):
        read_mesh(path)
