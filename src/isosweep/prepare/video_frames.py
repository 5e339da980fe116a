"""Frames of a video: the sharpest of each interval, and every picture only once.

The video is decoded twice. The first pass measures every frame at a small size, the second saves the chosen ones.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from isosweep.errors import InputError
from isosweep.prepare.image_io import save_image, shrink

ENDINGS = {".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".mts", ".3gp"}
MEASURED_SIDE = 480
"""Sharpness is measured on a copy whose longer side has this many pixels."""
COMPARED_SIDE = 48
"""Frames are compared as square copies with this many pixels a side."""
SAME_PICTURE = 2.0
"""Two frames show the same picture if their `difference` is smaller, in grey values of 255."""
SAME_PICTURE_WHEN_STILL = 10.0
"""The same limit for a video that mostly stands still. A coarse codec changes a held picture by five or six grey
values at each of its key frames; two photographs differ by more than twenty."""
MOSTLY_STILL = 0.5
"""A video mostly stands still if the median difference of consecutive frames is smaller."""
JPG_QUALITY = 97


@dataclass(frozen=True)
class Frame:
    """The measurements of one frame."""

    index: int
    """Number of the frame in the video, from 0."""
    sharpness: float
    small: UInt8[np.ndarray, "s s"]
    """Grey copy for comparisons, s = ``COMPARED_SIDE``."""


def is_video(path: Path) -> bool:
    """True if the file's ending is that of a video."""
    return path.suffix.lower() in ENDINGS


def choose_frames(frames: list[Frame], most: int) -> list[int]:
    """Choose at most ``most`` frames.

    Consecutive frames that show the same picture (a held photograph, a camera at rest) form a group, and the
    sharpest of each group remains. If more than ``most`` remain, they are divided into ``most`` intervals of
    equal numbers, and the sharpest of each interval is chosen.

    Returns:
        The ``index`` of each chosen frame, in the order of the video.
    """
    steps = [difference(a.small, b.small) for a, b in itertools.pairwise(frames)]
    limit = SAME_PICTURE_WHEN_STILL if steps and np.median(steps) < MOSTLY_STILL else SAME_PICTURE
    groups: list[list[Frame]] = []
    for frame in frames:
        if groups and difference(groups[-1][0].small, frame.small) < limit:
            groups[-1].append(frame)
        else:
            groups.append([frame])
    sharpest = [max(group, key=lambda f: f.sharpness) for group in groups]
    if len(sharpest) <= most:
        return [f.index for f in sharpest]
    bounds = np.linspace(0, len(sharpest), most + 1).astype(int)
    parts = [sharpest[a:b] for a, b in itertools.pairwise(bounds)]
    return [max(part, key=lambda f: f.sharpness).index for part in parts]


def difference(a: UInt8[np.ndarray, "s s"], b: UInt8[np.ndarray, "s s"]) -> float:
    """Mean absolute difference of the 10% of the pixels that differ most, in grey values of 255."""
    change = np.abs(a.astype(np.int16) - b.astype(np.int16)).ravel()
    tenth = max(1, len(change) // 10)
    return float(np.partition(change, -tenth)[-tenth:].mean())


def sharpness(grey: UInt8[np.ndarray, "h w"]) -> float:
    """var(Laplacian of the grey values) / (var(grey values) + 1). Blur lowers it, exposure hardly changes it."""
    g: Float[np.ndarray, "h w"] = grey.astype(np.float32)
    laplacian = 4 * g[1:-1, 1:-1] - g[:-2, 1:-1] - g[2:, 1:-1] - g[1:-1, :-2] - g[1:-1, 2:]
    return float(laplacian.var() / (g.var() + 1.0))


def extract_frames(
    video: Path,
    images: Path,
    most: int,
    size: int,
    start: float,
    end: float | None,
    set_total: Callable[[int], None],
    tick: Callable[[], None],
) -> tuple[list[tuple[str, int, int, float]], int]:
    """Save the chosen frames of a video as upright jpg files with square pixels.

    Args:
        images: the folder that the files go to.
        most: the most frames that are chosen, see `choose_frames`.
        size: the most pixels of the longer side, 0 for no limit.
        start: seconds since the beginning of the video; earlier frames are ignored.
        end: seconds, or None for the end of the video; later frames are ignored.
        set_total: called with the number of steps; 0 if the file does not state its number of frames.
        tick: called at each step.

    Returns:
        (name, width, height, seconds) of each saved frame, and the number of frames between start and end.

    Raises:
        ValueError: the file is damaged or no video, or no frame lies between ``start`` and ``end``.
    """
    n = _frame_count(video)
    set_total(2 * n if n else 0)
    measured = []
    for i, frame, _, _ in _decode(video, start, end):
        tick()
        measured.append(_measure(i, frame))
    if not measured:
        until = "its end" if end is None else f"{end:g} s"
        raise InputError(
            f"no frame of {video} lies between {start:g} s and {until}: change --start and --end"
        )
    chosen = set(choose_frames(measured, most))
    images.mkdir(parents=True, exist_ok=True)
    saved = []
    for i, frame, time, aspect in _decode(video, start, end):
        tick()
        if i not in chosen:
            continue
        picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
        if aspect != 1:  # an anamorphic video; the poses assume square pixels
            picture = picture.resize(
                (round(picture.width * aspect), picture.height), Image.Resampling.LANCZOS
            )
        picture = shrink(Image.fromarray(_rotated(np.asarray(picture), frame.rotation)), size)
        name = f"frame_{i:06d}.jpg"
        save_image(images / name, picture, JPG_QUALITY)
        saved.append((name, picture.width, picture.height, time))
    return saved, len(measured)


def _decode(video: Path, start: float, end: float | None) -> Iterator[tuple[int, Any, float, float]]:
    """For each frame: its number, the frame, seconds since the video's first time stamp, pixel width over height."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise InputError(f"{video} has no picture, only {len(container.streams)} other streams")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            aspect = float(stream.sample_aspect_ratio or 1)
            # the time stamps of camcorders and broadcasts do not begin at 0
            begin = float((stream.start_time or 0) * (stream.time_base or 0))
            for i, frame in enumerate(container.decode(stream)):
                time = 0.0 if frame.time is None else float(frame.time) - begin
                if end is not None and time > end:
                    return
                if time >= start:
                    yield i, frame, time, aspect
    except FFmpegError as error:
        raise InputError(
            f"cannot decode {video} ({video.stat().st_size} bytes): {error}. It is no video, damaged or cut off"
        ) from error


def _frame_count(video: Path) -> int:
    """The number of frames that the file states; 0 if it states none."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(video)) as container:
            return container.streams.video[0].frames if container.streams.video else 0
    except FFmpegError as error:
        raise InputError(
            f"cannot open {video} ({video.stat().st_size} bytes): {error}. It is no video, damaged or cut off"
        ) from error


def _measure(index: int, frame: Any) -> Frame:
    scale = min(1.0, MEASURED_SIDE / max(frame.width, frame.height))
    w, h = (max(8, 2 * round(s * scale / 2)) for s in (frame.width, frame.height))
    grey = frame.reformat(width=w, height=h, format="gray").to_ndarray()[:h, :w]
    side = COMPARED_SIDE
    small = frame.reformat(width=side, height=side, format="gray", interpolation="AREA").to_ndarray()
    return Frame(index, sharpness(grey), small[:side, :side].copy())


def _rotated(pixels: np.ndarray, degrees: int) -> np.ndarray:
    """Turned counterclockwise. Phones store portrait videos as landscape, with the angle in the header."""
    return np.ascontiguousarray(np.rot90(pixels, round(degrees / 90) % 4))
