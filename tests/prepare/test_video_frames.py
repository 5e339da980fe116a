"""Frames of a video: the sharpest of each interval, held pictures once, turned upright; damaged files are named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isosweep.prepare.video_frames import COMPARED_SIDE, Frame, choose_frames, extract_frames, sharpness
from isosweep.rendering.video import write_video


def frame(index: int, sharp: float, picture: int | None = None) -> Frame:
    rng = np.random.default_rng(index if picture is None else picture)
    return Frame(index, sharp, rng.integers(0, 255, (COMPARED_SIDE, COMPARED_SIDE), dtype=np.uint8))


def test_the_sharpest_of_each_interval() -> None:
    frames = [frame(i, sharp) for i, sharp in enumerate((1, 5, 2, 3, 9, 1, 7, 2, 3))]
    assert choose_frames(frames, 3) == [1, 4, 6]
    assert choose_frames(frames, 100) == list(range(9))


def test_a_held_picture_counts_once() -> None:
    frames = [frame(i, sharp=i % 4, picture=i // 4) for i in range(20)]
    assert choose_frames(frames, 100) == [3, 7, 11, 15, 19]


def test_a_coarse_codec_does_not_make_two_pictures_of_a_held_one() -> None:
    """Each key frame changes the held picture by five or six grey values; another photograph, by far more."""
    coarse = [frame(i, 1.0, picture=i // 15) for i in range(60)]
    for i, f in enumerate(coarse):
        if i % 12 == 0:
            f.small[:] = np.clip(f.small.astype(int) + 6, 0, 255)
    assert len(choose_frames(coarse, 100)) == 4
    # a camera that moves on at every frame: such a change is a new picture
    moving = [Frame(i, 1.0, np.full((COMPARED_SIDE, COMPARED_SIDE), 6 * i, np.uint8)) for i in range(20)]
    assert len(choose_frames(moving, 100)) == 20


def test_blur_lowers_sharpness_and_exposure_does_not() -> None:
    from scipy.ndimage import gaussian_filter

    picture = np.random.default_rng(0).integers(0, 120, (64, 64)).astype(np.float32)
    blurred = gaussian_filter(picture, 1.5)
    assert sharpness(blurred.astype(np.uint8)) < 0.2 * sharpness(picture.astype(np.uint8))
    assert sharpness((2 * picture).astype(np.uint8)) == pytest.approx(
        sharpness(picture.astype(np.uint8)), rel=0.05
    )


def film(path: Path, n: int = 6, held: int = 3) -> Path:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(n)]
    return write_video(path, (p for p in pictures for _ in range(held)), 12)


def test_a_video_of_held_photographs_gives_each_back(tmp_path: Path) -> None:
    counted = []
    made, seen = extract_frames(
        film(tmp_path / "v.mp4"), tmp_path / "f", 50, 0, 0, None, counted.append, lambda: None
    )
    assert seen == 18
    assert counted == [36]
    assert len(made) == 6
    assert [w for _, w, _, _ in made] == [128] * 6
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == [name for name, *_ in made]
    short, _ = extract_frames(
        tmp_path / "v.mp4", tmp_path / "g", 50, 64, 0.5, 1.0, counted.append, lambda: None
    )
    assert [(w, h) for _, w, h, _ in short] == [(64, 48)] * len(short)
    assert all(0.5 <= time <= 1.0 for *_, time in short)


def test_a_phone_video_is_turned_upright(tmp_path: Path) -> None:
    import av

    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:16, :24] = 255
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    _patch_matrix(tmp_path / "v.mp4")
    made, _ = extract_frames(tmp_path / "v.mp4", tmp_path / "f", 5, 0, 0, None, lambda n: None, lambda: None)
    name, width, height, _ = made[0]
    assert (width, height) == (64, 96)
    bright = np.asarray(Image.open(tmp_path / "f" / name).convert("L"))
    assert bright[:20, -12:].min() > 200, "turned clockwise: the top left corner is at the top right"


def test_anamorphic_pixels_become_square_and_times_count_from_the_beginning(tmp_path: Path) -> None:
    from fractions import Fraction

    import av

    path = tmp_path / "v.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.codec_context.time_base = Fraction(1, 10)
        rng = np.random.default_rng(0)
        for i in range(30):
            pixels = rng.integers(0, 255, (8, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = 600 + i  # a camcorder's clock: the stream begins after a minute
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    made, seen = extract_frames(path, tmp_path / "f", 50, 0, 1.0, 2.0, lambda n: None, lambda: None)
    assert 9 <= seen <= 11
    assert {(w, h) for _, w, h, _ in made} == {(128, 64)}
    assert all(1.0 <= time <= 2.0 for *_, time in made)


def _patch_matrix(path: Path) -> None:
    """Write 'turn 90 degrees clockwise' into the track's header, as a phone held upright does."""
    import struct

    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4
    place = at + 4 + 20 + 16  # version and flags, times and ids, reserved to volume
    one = 0x10000
    assert struct.unpack_from(">i", data, place)[0] == one
    struct.pack_into(">9i", data, place, 0, one, 0, -one, 0, 0, 64 * one, 0, 0x40000000)
    path.write_bytes(bytes(data))


def test_damaged_and_empty_videos_say_so(tmp_path: Path) -> None:
    def run(path: Path, **options) -> None:
        extract_frames(
            path, tmp_path / "f", 5, 0, options.get("start", 0), None, lambda n: None, lambda: None
        )

    (tmp_path / "zero.mp4").write_bytes(b"\0" * 4000)
    with pytest.raises(ValueError, match=r"cannot open .*zero.mp4 \(4000 bytes\).*damaged or cut off"):
        run(tmp_path / "zero.mp4")
    with pytest.raises(ValueError, match=r"no frame of .* lies between 99 s and its end"):
        run(film(tmp_path / "v.mp4", 3), start=99)
