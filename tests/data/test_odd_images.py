"""Images of other people: every mode, damaged notes, sizes that would take all memory; and one way to open them."""

import ast
import re
import struct
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isosweep.data import decode as decoding
from isosweep.data import image_store
from isosweep.data.decode import Source, decode, read_header, read_mask
from isosweep.errors import InputError
from isosweep.prepare.photos import read_upright
from isosweep.runtime.image_file import exif_values, open_image
from tests.support.pngs import GREY, RGB, chunk, header, write_blank, write_png

ROOT = Path(__file__).resolve().parents[2]
TURNED = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
"""An EXIF block whose one tag is orientation 6."""
DAMAGED = {
    "no tiff": chunk(b"eXIf", b"garbage"),
    "wrong checksum": chunk(b"eXIf", TURNED, damaged=True),
    "cut off": chunk(b"eXIf", TURNED[:18]),
    "65535 tags": chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\xff\xff\xff\xff\x06\0"),
    "a circle": chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"),
    "empty": chunk(b"eXIf", b""),
    "a comment": chunk(b"tEXt", b"a\0b", damaged=True),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_notes_are_ignored(name: str, tmp_path: Path) -> None:
    rows = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, -1)
    write_png(tmp_path / "a.png", [row.tobytes() for row in rows], 64, notes=DAMAGED[name])
    source = Source(tmp_path / "a.png")
    assert read_header(source).alpha is False
    assert np.array_equal(decode(source, False, 1), rows.reshape(64, 64, 3))
    pixels, focal, turned = read_upright(tmp_path / "a.png")
    assert (pixels.shape, focal.ratio, turned) == ((64, 64, 3), None, False)


def test_a_damaged_chunk_of_the_pixels_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", [bytes(6)] * 2, 2, notes=chunk(b"tRNS", b"\0" * 6, damaged=True))
    with pytest.raises(InputError, match=r"cannot decode image .*a.png .*damaged"):
        read_header(Source(tmp_path / "a.png"))


def test_a_whole_exif_is_read(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", [bytes(9)] * 2, 3, notes=chunk(b"eXIf", TURNED))
    with open_image(tmp_path / "a.png") as image:
        assert exif_values(image) == {0x0112: 6}
    assert decode(Source(tmp_path / "a.png", turn=True), False, 1).shape == (3, 2, 3)


def test_every_mode_becomes_colour(tmp_path: Path) -> None:
    red = np.zeros((2, 3, 3), np.uint8) + np.array([200, 20, 30], np.uint8)
    picture, path = Image.fromarray(red), tmp_path / "a"
    picture.convert("CMYK").save(path, format="JPEG", quality=100)
    assert np.abs(decode(Source(path), False, 1).astype(int) - red).max() <= 3
    picture.convert("CMYK").save(path, format="TIFF")
    assert np.abs(decode(Source(path), False, 1).astype(int) - red).max() <= 1
    picture.convert("P", palette=Image.Palette.ADAPTIVE).save(path, format="PNG")
    assert np.array_equal(decode(Source(path), False, 1), red)
    clear = picture.convert("P", palette=Image.Palette.ADAPTIVE)
    clear.save(path, format="PNG", transparency=0)
    assert decode(Source(path), True, 1)[..., 3].max() == 0
    Image.merge("LA", [Image.new("L", (3, 2), 7), Image.new("L", (3, 2), 9)]).save(path, format="PNG")
    assert decode(Source(path), True, 1)[0, 0].tolist() == [7, 7, 7, 9]
    Image.new("1", (3, 2), 1).save(path, format="PNG")
    assert decode(Source(path), False, 1).min() == 255


def test_16_bits_keep_their_range(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for form in ("PNG", "TIFF"):
        Image.fromarray(values).save(tmp_path / "a", format=form)
        assert decode(Source(tmp_path / "a"), False, 1)[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    triple = np.repeat(values.astype(">u2"), 3, 0).T
    write_png(tmp_path / "b", [triple.tobytes()], 5, RGB, 16)
    assert decode(Source(tmp_path / "b"), False, 1)[0, :, 1].tolist() == [0, 0, 1, 128, 255]
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "c", format="TIFF")
    assert decode(Source(tmp_path / "c"), False, 1)[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    Image.fromarray(values.astype(np.int32) + 1).save(tmp_path / "c", format="TIFF")
    with pytest.raises(
        InputError, match=r"pixels from 1 to 65536 in 32 bits, where 16 bits .* are read: convert"
    ):
        decode(Source(tmp_path / "c"), False, 1)
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "d", format="TIFF")
    with pytest.raises(InputError, match=r"has pixels of mode F; expected grey, RGB, RGBA or CMYK"):
        read_header(Source(tmp_path / "d"))


@pytest.mark.parametrize(("most", "seen"), [(1, [0, 255]), (255, [0, 255]), (65535, [0, 255])])
def test_masks_of_16_bits_may_hold_1_or_8_or_16(most: int, seen: list[int], tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, most]], np.uint16)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png")[0].tolist() == seen


@pytest.mark.parametrize("kind", ["colour", "alpha", "mask", "ignore", "16"])
@pytest.mark.parametrize("downscale", [1, 3])
def test_strips_are_the_whole(
    kind: str, downscale: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (23, 17, 4), dtype=np.uint8)
    Image.fromarray(noise if kind == "alpha" else noise[..., :3]).save(tmp_path / "a.png")
    if kind == "16":
        Image.fromarray(noise[..., 0].astype(np.uint16) * 256).save(tmp_path / "a.png")
    Image.fromarray(noise[..., 3] // 128).save(tmp_path / "m.png")
    mask = tmp_path / "m.png" if kind in ("mask", "ignore") else None
    source = Source(tmp_path / "a.png", mask, meaning="ignore" if kind == "ignore" else "object")
    whole = decode(source, kind != "colour", downscale)
    monkeypatch.setattr(decoding, "AT_ONCE", 60)
    assert np.array_equal(decode(source, kind != "colour", downscale), whole)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    Image.new("L", (2, 2)).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=r"m.png has \(2, 2\) pixels, its image .*a.png \(4, 4\)"):
        decode(Source(tmp_path / "a.png", tmp_path / "m.png"), True, 1)


@pytest.mark.parametrize("side", [13_000, 17_000, 60_000, 2**31 - 1])
def test_what_announces_too_many_pixels_is_refused_by_its_header(side: int, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(header(side, side) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(
        InputError,
        match=rf"image .*a.png announces {round(side**2 / 1e6)} megapixels, and at most 128 .*MEGAPIXELS=\d+ in",
    ):
        read_header(Source(tmp_path / "a.png"))
    with pytest.raises(InputError, match="ISOSWEEP_MAX_MEGAPIXELS"):
        read_upright(tmp_path / "a.png")


def exr(path: Path, values: np.ndarray, half: bool = False) -> None:
    """Write linear values [h, w], [h, w, 3] or [h, w, 4] as OpenEXR, with FFmpeg's encoder."""
    import av

    channels = values.shape[2] if values.ndim == 3 else 1
    context = av.codec.CodecContext.create("exr", "w")
    context.height, context.width = values.shape[:2]
    context.pix_fmt = {1: "grayf32le", 3: "gbrpf32le", 4: "gbrapf32le"}[channels]
    context.time_base = Fraction(1, 1)
    context.options = {"format": "half" if half else "float"}
    frame = av.VideoFrame.from_ndarray(values.astype(np.float32), format=context.pix_fmt)
    path.write_bytes(b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)]))


@pytest.mark.parametrize("half", [False, True])
def test_exr_is_linear_light_by_the_srgb_curve(tmp_path: Path, half: bool) -> None:
    light = np.zeros((4, 6, 3))
    light[0, 0], light[0, 1], light[0, 2], light[0, 3] = 1.0, 0.5, 0.002, 7.0
    exr(tmp_path / "a.exr", light, half)
    assert (
        read_header(Source(tmp_path / "a.exr")).height,
        read_header(Source(tmp_path / "a.exr")).width,
    ) == (4, 6)
    pixels = decode(Source(tmp_path / "a.exr"), with_mask=False, downscale=1)
    # IEC 61966-2-1: 0.5 becomes 1.055 * 0.5^(1 / 2.4) - 0.055 = 0.7354; 0.002 becomes 12.92 * 0.002 = 0.0258
    assert pixels[0, :5, 0].tolist() == [255, 188, 7, 255, 0]


def test_exr_with_alpha_is_straight_and_may_be_grey(tmp_path: Path) -> None:
    light = np.zeros((4, 6, 4))
    light[..., 3], light[1, 1] = 1.0, (0.25, 0.25, 0.25, 0.5)
    exr(tmp_path / "a.exr", light)
    assert decode(Source(tmp_path / "a.exr"), with_mask=True, downscale=1)[1, 1].tolist() == [
        188,
        188,
        188,
        128,
    ]
    exr(tmp_path / "g.exr", np.full((4, 6), 0.5))
    assert decode(Source(tmp_path / "g.exr"), with_mask=False, downscale=1)[1, 1].tolist() == [188, 188, 188]


def test_exr_that_is_damaged_or_huge_is_refused(tmp_path: Path) -> None:
    exr(tmp_path / "a.exr", np.full((4, 6, 3), 0.5))
    data = (tmp_path / "a.exr").read_bytes()
    (tmp_path / "cut.exr").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"^cannot decode image .*cut\.exr"):
        decode(Source(tmp_path / "cut.exr"), with_mask=False, downscale=1)
    (tmp_path / "bare.exr").write_bytes(b"v/1\x01\x02\0\0\0" + bytes(99))
    with pytest.raises(InputError, match=r"bare\.exr .*its header announces no size"):
        read_header(Source(tmp_path / "bare.exr"))
    corners = struct.pack("<4i", 0, 0, 5, 3)
    (tmp_path / "huge.exr").write_bytes(data.replace(corners, struct.pack("<4i", 0, 0, 59999, 59999)))
    with pytest.raises(InputError, match=r"huge\.exr announces 3600 megapixels"):
        read_header(Source(tmp_path / "huge.exr"))


def test_the_bound_is_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_blank(tmp_path / "a.png", 1200)
    monkeypatch.setenv("ISOSWEEP_MAX_MEGAPIXELS", "1")
    with pytest.raises(InputError, match=r"announces 1 megapixels.*ISOSWEEP_MAX_MEGAPIXELS=2 in front"):
        decode(Source(tmp_path / "a.png"), False, 1)
    monkeypatch.setenv("ISOSWEEP_MAX_MEGAPIXELS", "2")
    assert decode(Source(tmp_path / "a.png"), False, 8).shape == (150, 150, 3)
    monkeypatch.setenv("ISOSWEEP_MAX_MEGAPIXELS", "many²")
    with pytest.raises(InputError, match=r"ISOSWEEP_MAX_MEGAPIXELS=many²: it is a whole number above 0"):
        open_image(tmp_path / "a.png")


def test_a_large_image_takes_little_beside_itself(tmp_path: Path) -> None:
    """36 megapixels of grey: 36 MB as Pillow has them, and 7 MB of result; it was 500 MB."""
    write_blank(tmp_path / "a.png", 6000, GREY)
    code = (
        "import resource, sys; from pathlib import Path; from isosweep.data.decode import Source, decode\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); decode(Source(Path(sys.argv[1])), False, 4); print((peak() - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.png")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 230


@pytest.mark.parametrize(("at_once", "together"), [(8, 1), (1000, 4)])
def test_large_images_are_decoded_alone(at_once: int, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    met = threading.Barrier(together)

    def decoded(*_: object) -> np.ndarray:
        met.wait(timeout=20)  # breaks unless so many are decoded at the same time
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(image_store, "_DECODED_AT_ONCE", at_once)
    monkeypatch.setattr(image_store, "_workers", lambda: 4)
    monkeypatch.setattr(image_store, "decode", decoded)
    sources = [Source(Path(f"{n}.png")) for n in range(4)]
    pools = []
    pool = image_store.ThreadPoolExecutor
    monkeypatch.setattr(image_store, "ThreadPoolExecutor", lambda n: pools.append(n) or pool(n))
    assert len(list(image_store._decoded(sources, False, 1, [8, 8, 8, 8]))) == 4
    assert len(pools) == 4 // together, "a pool for each group"


OPENERS = re.compile(r"\b(imread|tifffile|imageio|cv2|OpenEXR)\b")


def test_images_are_opened_in_one_place() -> None:
    """``Image.open`` of Pillow without a list of formats starts ghostscript on a PostScript file named .png."""
    found = []
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("scripts/*.py"), ROOT / "main.py"]:
        text = path.read_text(encoding="utf-8")
        if not ("PIL" in text or OPENERS.search(text)):
            continue
        for node in ast.walk(ast.parse(text)):
            is_open = isinstance(node, ast.Attribute) and node.attr == "open"
            if is_open and ast.unparse(node.value).split(".")[-1] in ("Image", "PIL", "ImageFile"):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
            if isinstance(node, ast.ImportFrom | ast.Import) and OPENERS.search(ast.unparse(node)):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    opener = "src/isosweep/runtime/image_file.py"
    assert found
    assert all(place.startswith(opener) for place in found), found
