"""npz and npy files that are damaged: an error that names the file, quickly and without memory."""

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from isosweep.data.arrays import read_npy, read_npz


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
