"""What a ply announces is checked before a reader sees the file; a file of another kind never reaches one."""

from pathlib import Path

import pytest

from isosweep.data.neus import has_faces
from isosweep.errors import InputError
from isosweep.runtime.ply import require_ply

HEAD = b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\n"


def test_an_honest_one_passes(tmp_path: Path) -> None:
    path = tmp_path / "points.ply"
    path.write_bytes(HEAD + b"element face 0\nend_header\n" + bytes(8))
    require_ply(path, "a test says so")
    assert not has_faces(path)
    path.write_bytes(HEAD + b"element face 3\nend_header\n" + bytes(80))
    assert has_faces(path)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.zip", b"PK\3\4", r"x.zip is no .ply, and the json names it"),
        ("x.ply", b"PK\3\4" + bytes(100), "x.ply is no ply: no header"),
        ("x.ply", HEAD + bytes(100000), "no header between 'ply' and 'end_header'"),
        (
            "x.ply",
            b"ply\nelement vertex 7000000\nend_header\n",
            r"announces 7000000 of 'vertex' in \d+ bytes",
        ),
        (
            "x.ply",
            b"ply\nelement vertex " + b"9" * 400 + b"\nend_header\n",
            r"has 'element vertex 9{60,}', where",
        ),
        ("x.ply", b"ply\nelement face\nend_header\n", "has 'element face', where 'element <name> <count>'"),
        ("x.ply", b"ply\nelement face \xb2\nend_header\n", "where 'element <name> <count>' was sought"),
    ],
)
def test_what_is_none_is_refused_by_name(name: str, data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        require_ply(path, "the json names it")


@pytest.mark.parametrize("line", [b"element face", b"element face \xb2", b"element face -1"])
def test_a_count_of_faces_that_is_none_is_told(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mesh.ply"
    path.write_bytes(b"ply\n" + line + b"\nend_header\n")
    with pytest.raises(
        InputError, match=r"mesh.ply: its header has 'element face.*', where 'element <name> <count>'"
    ):
        has_faces(path)


def test_of_a_large_file_the_header_alone_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.ply"
    path.write_bytes(HEAD + b"element face 3\nend_header\n")
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a sparse file that no memory holds
    assert has_faces(path)
