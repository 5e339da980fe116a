"""npz and npy files that are damaged: an error that names the file, quickly and without memory."""

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from isosweep.data.arrays import MATRIX, names_of, read_npy, read_npz
from isosweep.errors import InputError
from isosweep.evaluation.external import read_transform


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue()


@pytest.mark.parametrize(
    "array", [np.arange(12.0).reshape(3, 4), np.asfortranarray(np.eye(3)), np.float32(2), np.zeros(0)]
)
def test_arrays_come_back(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", x=array)
    np.savez_compressed(tmp_path / "b.npz", x=array)
    for found in (
        read_npy(tmp_path / "a.npy", "it"),
        read_npz(tmp_path / "a.npz", "it")["x"],
        read_npz(tmp_path / "b.npz", "it")["x"],
    ):
        assert found.dtype == np.asarray(array).dtype
        assert np.array_equal(found, array)


@pytest.mark.parametrize("shape", [(2**50,), (2**31, 2**31, 4), (2**62, 2**62), (-1,), (10,)])
def test_shapes_larger_than_the_file(tmp_path: Path, shape: tuple[int, ...]) -> None:
    (tmp_path / "a.npy").write_bytes(header(shape) + b"\0" * 8)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header(shape) + b"\0" * 8)
    for read, file in ((read_npy, "a.npy"), (read_npz, "a.npz")):
        with pytest.raises(
            ValueError, match=rf"cannot read the poses in .*{file}: an array of shape .* are there"
        ):
            read(tmp_path / file, "the poses")


def test_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy: it holds Python objects, which are never unpickled"):
        read_npy(tmp_path / "a.npy", "it")


def test_truncated_and_random_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, read in (("a.npy", read_npy), ("a.npz", read_npz)):
        file = tmp_path / name
        if name == "a.npy":
            np.save(file, rng.normal(size=(9, 17)))
        else:
            np.savez_compressed(file, world_mat_0=np.eye(4), scale_mat_0=np.eye(4))
        whole = file.read_bytes()
        attempts = [whole[:n] for n in range(0, len(whole), 7)]
        attempts += [rng.integers(0, 256, n, np.uint8).tobytes() for n in (0, 1, 6, 10, 128, 4000)]
        for _ in range(400):
            data = bytearray(whole)
            for at in rng.integers(0, len(whole), rng.integers(1, 5)):
                data[at] = rng.integers(0, 256)
            attempts.append(bytes(data))
        tracemalloc.start()
        failed = []
        for data in attempts:
            file.write_bytes(data)
            try:
                read(file, "it")
            except ValueError as error:
                failed.append(str(error))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(failed) > len(whole) // 8
        assert all(str(file) in words for words in failed)
        assert peak < 2**25


def bomb(file: Path, **extra: np.ndarray) -> None:
    """An archive of half a megabyte with an array of half a gigabyte, and others."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("unused.npy", "w", force_zip64=True) as out:
            out.write(header((2**26,)))
            for _ in range(64):
                out.write(bytes(2**23))
        for name, array in extra.items():
            with archive.open(f"{name}.npy", "w") as out:
                np.save(out, array)


def test_what_is_not_sought_is_not_unpacked(tmp_path: Path) -> None:
    bomb(tmp_path / "a.npz", scale_mat_0=np.eye(4))
    tracemalloc.start()
    found = read_npz(tmp_path / "a.npz", "it", lambda name: name == "scale_mat_0", MATRIX)
    with pytest.raises(
        ValueError, match=r"a\.npz: unused is float64 of shape \(67108864,\); expected a 4x4 matrix of"
    ):
        read_npz(tmp_path / "a.npz", "it", sought=MATRIX)
    with pytest.raises(
        ValueError, match=r"needs 536870912 bytes, and 67108864 .*ISOSWEEP_MAX_ARRAY_MIB=512 in front"
    ):
        read_npz(tmp_path / "a.npz", "it")
    assert names_of(tmp_path / "a.npz", "it") == ["unused", "scale_mat_0"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(found) == ["scale_mat_0"]
    assert np.array_equal(found["scale_mat_0"], np.eye(4))
    assert peak < 2**23


def test_a_transform_is_read_and_nothing_beside_it(tmp_path: Path) -> None:
    bomb(tmp_path / "a.npz", scale_mat_0=2 * np.eye(4) - np.diag([0, 0, 0, 1.0]))
    assert read_transform(tmp_path / "a.npz")[0, 0] == 2
    bomb(tmp_path / "b.npz")
    with pytest.raises(
        InputError, match=r"b.npz: it has no scale_mat_0, it has unused. Expected a 4x4 similarity"
    ):
        read_transform(tmp_path / "b.npz")
    np.save(tmp_path / "c.npy", np.zeros((2**12, 2**9)))
    with pytest.raises(
        InputError, match=r"it is float64 of shape \(4096, 512\); expected a 4x4 matrix of numbers"
    ):
        read_transform(tmp_path / "c.npy")
    np.save(tmp_path / "d.npy", np.full((4, 4), "1"))
    with pytest.raises(InputError, match=r"it is <U1 of shape \(4, 4\); expected a 4x4 matrix of numbers"):
        read_transform(tmp_path / "d.npy")
    (tmp_path / "e.txt").write_bytes(b"1 " * 10**5)
    with pytest.raises(
        InputError, match=r"e.txt should hold the transform and has 200000 bytes, more than 65536"
    ):
        read_transform(tmp_path / "e.txt")
    (tmp_path / "f.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 1\n0 0 0 1\n")
    with pytest.raises(InputError, match=r"f.txt: its lines have 4, 4, 3, 4 numbers"):
        read_transform(tmp_path / "f.txt")
    (tmp_path / "g.txt").write_text("# mm\n1 0 0 5\n0,1,0,0 # y\n0 0 1 0\n\n0 0 0 1\n")
    assert read_transform(tmp_path / "g.txt")[0, 3] == 5


def test_a_header_that_announces_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f" + b"{" * 100)
    with pytest.raises(ValueError, match=r"a\.npy: its header announces 2147483647 bytes"):
        read_npy(tmp_path / "a.npy", "it")
