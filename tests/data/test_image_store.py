"""ImageStore: bytes in, the same pixels out, whatever the file is; and the error of every bad file."""

import errno
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from isosweep.data import cache, image_store
from isosweep.data.decode import Source, shrink
from isosweep.data.image_store import ImageStore, as_tensor, load_images
from isosweep.runtime import progress
from isosweep.types import Images

RNG = np.random.default_rng(0)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def noise(h: int, w: int, channels: int = 3) -> np.ndarray:
    return RNG.integers(0, 256, (h, w, channels), np.uint8)


def grid(store: ImageStore, view: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    h, w = store.hw[view].tolist()
    row, col = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return torch.full((h * w,), view), row.reshape(-1), col.reshape(-1)


def test_views_of_three_sizes_come_back_by_pixel_and_whole(tmp_path: Path) -> None:
    pixels = [noise(5, 7), noise(8, 3), noise(1, 1)]
    store = load_images([Source(save(tmp_path / f"{i}.png", p)) for i, p in enumerate(pixels)])
    assert isinstance(store, Images)
    assert store.hw.tolist() == [[5, 7], [8, 3], [1, 1]]
    assert not store.has_masks
    assert not store.is_alpha
    for view, expected in enumerate(pixels):
        rgb, mask = store.image(view)
        assert mask is None
        assert torch.equal(rgb, torch.from_numpy(expected).float() / 255)
        gathered, _ = store.gather(*grid(store, view))
        assert torch.equal(gathered.view(rgb.shape), rgb)


def test_pixels_stay_bytes(tmp_path: Path) -> None:
    """100 views of 200x100: 3 bytes a pixel, and no float array on the way."""
    path = save(tmp_path / "a.png", noise(100, 200))
    tracemalloc.start()
    store = load_images([Source(path)] * 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert store.nbytes == 100 * 100 * 200 * 3
    assert store._pixels.dtype == torch.uint8
    assert peak < 1.5 * store.nbytes


def test_a_pixel_outside_its_view_is_an_error_and_not_its_neighbour(tmp_path: Path) -> None:
    store = load_images([Source(save(tmp_path / f"{i}.png", noise(4, 5))) for i in range(2)])
    one = torch.tensor([0])
    for row, col in ((4, 0), (0, 5), (-1, 0)):
        with pytest.raises(IndexError, match="outside its view"):
            store.gather(one, one + row, one + col)
    with pytest.raises(IndexError, match="views 2 to 2 of 2"):
        store.gather(one + 2, one, one)
    assert store.gather(one[:0], one[:0], one[:0])[0].shape == (0, 3)


def test_alpha_is_the_mask_and_opaque_views_are_foreground(tmp_path: Path) -> None:
    rgba, rgb = noise(3, 4, 4), noise(2, 2)
    sources = [Source(save(tmp_path / "a.png", rgba)), Source(save(tmp_path / "b.png", rgb))]
    store = load_images(sources)
    assert store.is_alpha
    colour, mask = store.image(0)
    assert mask is not None
    assert torch.equal(torch.cat([colour, mask[..., None]], -1), torch.from_numpy(rgba).float() / 255)
    assert store.image(1)[1].eq(1).all()


def test_mask_files_win_over_alpha_and_may_hold_zero_and_one(tmp_path: Path) -> None:
    image = save(tmp_path / "a.png", noise(2, 2, 4))
    mask = save(tmp_path / "m.png", np.array([[0, 1], [1, 0]], np.uint8))
    store = load_images([Source(image, mask)])
    assert store.has_masks
    assert not store.is_alpha
    assert store.image(0)[1].tolist() == [[0, 1], [1, 0]]
    coloured = save(tmp_path / "c.png", np.array([[[0] * 3, [255] * 3], [[128] * 3, [0] * 3]], np.uint8))
    assert load_images([Source(image, coloured)]).image(0)[1].mul(255).tolist() == [[0, 255], [128, 0]]


def test_grey_16_bit_palette_and_jpeg(tmp_path: Path) -> None:
    grey = np.array([[0, 256], [0x1234, 65535]], np.uint16)
    store = load_images([Source(save(tmp_path / "g.png", grey))])
    assert store.image(0)[0][..., 1].mul(255).round().tolist() == [[0, 1], [0x12, 255]]
    flat = np.full((8, 8, 3), 90, np.uint8)
    store = load_images([Source(save(tmp_path / "j.jpg", flat))])
    assert (store.image(0)[0] * 255 - 90).abs().max() <= 1
    Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    assert load_images([Source(tmp_path / "p.png")]).image(0)[0].mul(255).round().eq(90).all()


def test_downscale_is_a_box_and_weighs_colour_by_alpha() -> None:
    """Boxes of 2: plain mean (0 + 10 + 20 + 31)/4 = 15.25; under alpha only visible pixels count."""
    plain = np.array([[0, 10, 9], [20, 31, 9], [9, 9, 9]], np.uint8)[..., None].repeat(3, -1)
    assert shrink(plain, 2).tolist() == [[[15, 15, 15]]]
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = [200, 100, 0, 255]
    rgba[0, 1] = [0, 0, 90, 51]
    assert shrink(rgba, 2, premultiply=True).tolist() == [[[167, 83, 15, 76]]]
    assert shrink(np.zeros((2, 2, 4), np.uint8), 2, premultiply=True).tolist() == [[[0, 0, 0, 0]]]


def test_downscale_that_leaves_nothing(tmp_path: Path) -> None:
    source = Source(save(tmp_path / "a.png", noise(4, 9)))
    assert load_images([source], 4).hw.tolist() == [[1, 2]]
    with pytest.raises(ValueError, match=r"downscale=5 leaves nothing of .*a\.png: lower it"):
        load_images([source], 5)


def test_large_sets_are_mapped_once_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))
    sources = [Source(save(tmp_path / f"{i}.png", noise(6, 5 + i, 4))) for i in range(3)]
    plain = load_images(sources)
    mapped = load_images(sources, memory=0.0)
    files = list((tmp_path / "cache" / "images").iterdir())
    assert [f.suffix for f in files] == [".npy"]
    for view in range(3):
        for a, b in zip(plain.image(view), mapped.image(view), strict=True):
            assert torch.equal(a, b)
    before = files[0].stat().st_mtime_ns
    load_images(sources, memory=0.0)
    assert files[0].stat().st_mtime_ns == before
    save(tmp_path / "1.png", noise(6, 6, 4))
    changed = load_images(sources, memory=0.0)
    assert not torch.equal(changed.image(1)[0], plain.image(1)[0])
    assert len(list((tmp_path / "cache" / "images").iterdir())) == 2
    load_images(sources, cache=False, memory=0.0)


def test_a_damaged_cache_file_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))
    sources = [Source(save(tmp_path / "a.png", noise(6, 5)))]
    expected = load_images(sources, memory=0.0).image(0)[0].clone()
    (file,) = (tmp_path / "cache" / "images").iterdir()
    for bad in (b"", b"no npy", file.read_bytes()[:-10]):
        file.write_bytes(bad)
        assert torch.equal(load_images(sources, memory=0.0).image(0)[0], expected)


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))

    class Full:
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    write = cache._write
    monkeypatch.setattr(cache, "_write", lambda file, view, path, shape: write(Full(), view, path, shape))
    with pytest.raises(
        OSError, match=r"No space left on device. Free some space, set ISOSWEEP_CACHE"
    ) as error:
        load_images([Source(save(tmp_path / "a.png", noise(6, 5)))], memory=0.0)
    assert error.value.errno == errno.ENOSPC
    assert list((tmp_path / "cache" / "images").iterdir()) == []


def test_missing_image_names_the_image_and_the_json(tmp_path: Path) -> None:
    listed = tmp_path / "transforms_train.json"
    with pytest.raises(
        FileNotFoundError, match=r"no image .*gone\.png, which .*transforms_train\.json lists"
    ):
        load_images([Source(tmp_path / "gone.png", None, listed)])


def test_truncated_and_foreign_files_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "cut.png", noise(64, 64))
    whole = path.read_bytes()
    for length in (0, 20, 60, len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:length])
        with pytest.raises(
            ValueError, match=rf"cannot decode image .*cut\.png \({length} bytes\).*copy it again"
        ):
            load_images([Source(path)])
    path.write_text("a text")
    with pytest.raises(ValueError, match=r"cannot decode image .*cut\.png"):
        load_images([Source(path)])


def test_a_mask_of_another_size_names_both(tmp_path: Path) -> None:
    image = save(tmp_path / "a.png", noise(6, 8))
    mask = save(tmp_path / "m.png", noise(6, 4)[..., 0])
    with pytest.raises(ValueError, match=r"mask .*m\.png is 4x6, its image .*a\.png is 8x6: .* one size"):
        load_images([Source(image, mask)])


def test_an_exif_orientation_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", noise(6, 8), exif=exif)
    with pytest.raises(ValueError, match=r"a\.jpg is stored turned \(EXIF orientation 6\)"):
        load_images([Source(path)])
    exif[0x0112] = 1
    load_images([Source(save(tmp_path / "b.jpg", noise(6, 8), exif=exif))])


def test_it_tells_how_far_it_is_and_heeds_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [Source(save(tmp_path / f"{i}.png", noise(4, 4))) for i in range(20)]
    monkeypatch.setattr(image_store, "_HEADERS_AT_ONCE", 8)
    monkeypatch.setattr(image_store, "_workers", lambda: 2)
    told: list[progress.Progress] = []
    with progress.heard_by(told.append):
        load_images(sources)
    parts = [(one.what, one.done, one.total) for one in told]
    assert parts[:3] == [("looking at images", done, 20) for done in (0, 8, 16)]
    assert parts[3:] == [("decoding images", done, 20) for done in (0, 8, 16)]
    assert [one.left_s is None for one in told[3:]] == [True, False, False]

    def stop() -> None:
        raise RuntimeError("asked to stop")

    monkeypatch.setattr(image_store.interrupts, "check", stop)
    with pytest.raises(RuntimeError, match="asked to stop"):
        load_images(sources)


def test_no_views_is_an_error() -> None:
    with pytest.raises(ValueError, match="list of views is empty"):
        load_images([])


@pytest.mark.parametrize("pread", [True, False])
def test_pixels_in_a_file_are_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pread: bool
) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))
    if not pread:
        monkeypatch.setattr(cache, "_PREAD", None)
    sources = [Source(save(tmp_path / f"{i}.png", noise(60 + i, 64, 4))) for i in range(4)]
    plain, filed = load_images(sources), load_images(sources, memory=0.0)
    assert plain._file is None
    assert filed._file is not None
    view, row, col = (torch.randint(n, (500,)) for n in (4, 60, 64))
    for a, b in zip(filed.gather(view, row, col), plain.gather(view, row, col), strict=True):
        assert torch.equal(a, b)
    for v in range(4):
        assert torch.equal(filed.image(v)[0], plain.image(v)[0])
    assert filed.gather(view[:0], row[:0], col[:0])[0].shape == (0, 3)
    assert filed.to("cpu") is filed


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="resident memory is read from /proc: Linux only"
)
def test_reading_far_and_wide_in_a_file_takes_no_memory(tmp_path: Path) -> None:
    def resident() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    n = 2**28
    cache.write_cached(
        tmp_path / "big.npy", (n // 4, 4), (np.zeros((2**12, 2**10, 4), np.uint8) for _ in range(16))
    )
    found = cache.open_cached(tmp_path / "big.npy", (n // 4, 4))
    assert found is not None
    store = ImageStore(as_tensor(found.mapped), torch.tensor([[2**12, 2**10]] * 16), False, found)
    before = resident()
    for _ in range(10):
        view, row, col = (torch.randint(k, (4000,)) for k in (16, 2**12, 2**10))
        store.gather(view, row, col)
    assert resident() - before < 2**26


def test_a_cache_that_is_cut_off_while_in_use_is_an_error_and_not_black(tmp_path: Path) -> None:
    path = tmp_path / "c.npy"
    cache.write_cached(path, (10_000, 3), [noise(100, 100)])
    found = cache.open_cached(path, (10_000, 3))
    assert found is not None
    assert not found.mapped.flags.writeable, "a writable map counts as memory that must be there"
    whole = found.runs(np.array([9_998]), 5)
    assert whole[0, 2:].sum() == 0
    np.testing.assert_array_equal(whole[0, :2], found.mapped[9_998:])
    os.truncate(path, 128 + 3 * 9_999)
    with pytest.raises(OSError, match=r"was cut off while in use\. Remove it"):
        found.runs(np.array([9_998]), 5)
    os.truncate(path, 128 + 3 * 6_001)
    np.testing.assert_array_equal(found.rows(np.array([6_000])).shape, (1, 3))
    for read in (
        lambda: found.rows(np.array([3, 9_000])),
        lambda: found.runs(np.array([6_000]), 2),
        lambda: found.span(5_000, 2_000),
    ):
        with pytest.raises(OSError, match=r"was cut off while in use\. Remove it"):
            read()


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    names = ("c-old.tmp", "c-new.tmp", "other-old.tmp")
    for name in names:
        (tmp_path / name).write_bytes(b"part")
    for name in ("c-old.tmp", "other-old.tmp"):
        os.utime(tmp_path / name, (0, 0))
    cache.write_cached(tmp_path / "c.npy", (4, 3), [noise(2, 2)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c-new.tmp", "c.npy", "other-old.tmp"]
