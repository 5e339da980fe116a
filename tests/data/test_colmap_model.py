"""COLMAP's files: the real models, pycolmap's view of them, and bytes that are no model."""

import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from isosweep.data.colmap_model import SparseModel, read_model
from isosweep.data.colmap_places import PARTS, find_model
from isosweep.data.lens import Lens
from tests.support.captures import tiny_colmap, write_model

MODELS = (
    "colmap_maryrose/sparse/0",
    "colmap_maryrose/sparse_txt",
    "colmap_model_sceaux/bin",
    "colmap_model_sceaux/txt",
)


def real(shared_data: Path, name: str) -> Path:
    if not (shared_data / name).is_dir():
        pytest.skip(f"no {name} in {shared_data}: set ISOSWEEP_DATA to the folder that holds it")
    return shared_data / name


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_colmap(tmp_path) / "sparse" / "0"


def same(a: SparseModel, b: SparseModel, atol: float) -> None:
    assert [(i.id, i.name, i.camera_id) for i in a.images] == [(i.id, i.name, i.camera_id) for i in b.images]
    for x, y in zip(a.images, b.images, strict=True):
        assert np.allclose(x.w2c, y.w2c, atol=atol)
        assert np.allclose(x.xy, y.xy, atol=atol)
        assert np.array_equal(x.point_ids, y.point_ids)
    at_a, at_b = np.argsort(a.points.ids), np.argsort(b.points.ids)
    assert np.array_equal(a.points.ids[at_a], b.points.ids[at_b])
    assert np.allclose(a.points.xyz[at_a], b.points.xyz[at_b], atol=atol)
    assert np.array_equal(a.points.rgb[at_a], b.points.rgb[at_b])
    assert np.allclose(a.points.error[at_a], b.points.error[at_b], atol=atol)
    assert np.array_equal(a.points.n_views[at_a], b.points.n_views[at_b])


@pytest.mark.parametrize("name", MODELS)
def test_real_models_read_as_pycolmap_reads_them(shared_data: Path, name: str) -> None:
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed: nothing to compare with")
    found = read_model(real(shared_data, name))
    expected = pycolmap.Reconstruction(str(shared_data / name))
    assert {k: (c.model, c.params) for k, c in found.cameras.items()} == {
        k: (c.model.name, tuple(c.params)) for k, c in expected.cameras.items()
    }
    assert len(found.images) == expected.num_reg_images()
    for image in found.images:
        other = expected.images[image.id]
        assert (image.name, image.camera_id) == (other.name, other.camera_id)
        assert np.allclose(image.w2c, other.cam_from_world().matrix(), atol=1e-12)
        assert np.allclose(image.xy, [p.xy for p in other.points2D])
        has = np.array([p.has_point3D() for p in other.points2D])
        ids = np.array([p.point3D_id if p.has_point3D() else -1 for p in other.points2D], np.int64)
        assert np.array_equal(image.point_ids[has], ids[has])
        assert (image.point_ids[~has] == -1).all()
    points = found.points
    for i in range(0, len(points), 50):
        other = expected.points3D[int(points.ids[i])]
        assert np.allclose(points.xyz[i], other.xyz)
        assert points.rgb[i].tolist() == other.color.tolist()
        assert points.error[i] == pytest.approx(other.error)
        assert points.n_views[i] == other.track.length()
    assert len(points) == expected.num_points3D()


@pytest.mark.parametrize("pair", [MODELS[:2], MODELS[2:]])
def test_binary_and_text_hold_the_same(shared_data: Path, pair: tuple[str, str]) -> None:
    a, b = (read_model(real(shared_data, name)) for name in pair)
    same(a, b, atol=1e-2 if "sceaux" in pair[0] else 1e-9)


def test_both_kinds_of_a_made_model(tmp_path: Path) -> None:
    a, b = (read_model(tiny_colmap(tmp_path / k, k == "bin") / "sparse" / "0") for k in ("bin", "txt"))
    same(a, b, atol=1e-12)
    assert a.points.ids[0] == 7
    assert a.images[0].name == "view_0.png"


def test_text_with_spaces_in_names_and_images_without_features(tmp_path: Path) -> None:
    write_model(tmp_path, {1: Lens("PINHOLE", 8, 8, (9, 9, 4, 4))}, [], np.zeros((0, 3)), binary=False)
    (tmp_path / "images.txt").write_text(
        "# two lines an image\n1 1 0 0 0 0 0 0 1 my photo.jpg\n\n2 1 0 0 0 0 0 0 1 sub/b.jpg\n1.5 2.5 -1\n"
    )
    found = read_model(tmp_path)
    assert [i.name for i in found.images] == ["my photo.jpg", "sub/b.jpg"]
    assert [len(i.xy) for i in found.images] == [0, 1]
    assert found.images[1].xy.tolist() == [[1.5, 2.5]]


def test_where_a_model_is_looked_for(tmp_path: Path, tiny: Path) -> None:
    scene = tiny.parents[1]
    assert find_model(scene) == tiny
    assert find_model(tiny) == tiny
    (scene / "sparse" / "1").mkdir()
    for part in PARTS:
        (tiny / f"{part}.bin").rename(scene / "sparse" / "1" / f"{part}.bin")
    assert find_model(scene) == scene / "sparse" / "1"
    assert find_model(tmp_path) is None


def damage(file: Path, at: int, form: str, *values: object) -> None:
    data = bytearray(file.read_bytes())
    struct.pack_into(form, data, at, *values)
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("file", "at", "form", "value", "words"),
    [
        (
            "cameras.bin",
            12,
            "<i",
            99,
            r"camera 1 of .*cameras\.bin has the model id 99, which is not known \(0 SIMPLE_",
        ),
        (
            "cameras.bin",
            12,
            "<i",
            17,
            r"camera 1 of .*cameras\.bin is EQUIRECTANGULAR: a panorama has no pin-hole",
        ),
        ("cameras.bin", 32, "<d", float("nan"), r"camera 1 of .*positive focal length; found fx=nan"),
        (
            "cameras.bin",
            0,
            "<Q",
            2**60,
            r"cameras\.bin announces \d+ cameras at byte 0, and 56 bytes are left",
        ),
        ("cameras.bin", 8, "<i", 2, r"image view_0\.png was taken by camera 1, and .*cameras\.bin has 2"),
        ("images.bin", 0, "<Q", 2**40, r"images\.bin announces \d+ images"),
        ("images.bin", 0, "<Q", 0, r"images\.bin registers no image: the reconstruction failed"),
        ("images.bin", 12, "<d", float("nan"), r"the pose of image view_0\.png is no finite unit quaternion"),
        ("images.bin", 44, "<d", float("inf"), r"the pose of image view_0\.png .*shift \[inf"),
        ("images.bin", 83, "<Q", 2**61, r"images\.bin announces \d+ features of view_0\.png"),
        ("points3D.bin", 0, "<Q", 2**50, r"points3D\.bin announces \d+ points"),
        (
            "points3D.bin",
            16,
            "<d",
            float("inf"),
            r"points3D\.bin: point 7 has nan or inf coordinates \(1 such\)",
        ),
        ("points3D.bin", 51, "<Q", 2**60, r"points3D\.bin announces \d+ observations"),
    ],
)
def test_damaged_values_are_named(
    tiny: Path, file: str, at: int, form: str, value: object, words: str
) -> None:
    damage(tiny / file, at, form, value)
    with pytest.raises(ValueError, match=words):
        read_model(tiny)


def test_missing_parts(tiny: Path) -> None:
    (tiny / "points3D.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"no COLMAP model in .* found cameras\.bin, images\.bin"):
        read_model(tiny)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("part", PARTS)
def test_truncated_and_random_bytes_end_in_one_clear_error(tmp_path: Path, part: str, binary: bool) -> None:
    """A few hundred damages a file: ValueError that names the file or a model that reads, quickly and small."""
    folder = tiny_colmap(tmp_path, binary) / "sparse" / "0"
    file = folder / f"{part}{'.bin' if binary else '.txt'}"
    whole = file.read_bytes()
    rng = np.random.default_rng(len(part) + binary)
    attempts = [whole[:n] for n in rng.integers(0, len(whole), 60)]
    attempts += [rng.integers(0, 256, n, np.uint8).tobytes() for n in (0, 1, 8, 9, 64, 5000)]
    for _ in range(80):
        data = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 400), rng.integers(1, 6)):
            data[at] = rng.integers(0, 256)
        attempts.append(bytes(data))
    for eight in (b"\xff" * 8, struct.pack("<Q", 2**62), struct.pack("<d", float("nan"))):
        attempts += [whole[:at] + eight + whole[at + 8 :] for at in range(0, 120, 8)]
    tracemalloc.start()
    began, failed = time.perf_counter(), []
    for data in attempts:
        file.write_bytes(data)
        try:
            read_model(folder)
        except ValueError as error:
            failed.append(str(error))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(failed) > 60
    assert all(str(folder) in words for words in failed)
    assert time.perf_counter() - began < 120
    assert peak < 2**25
