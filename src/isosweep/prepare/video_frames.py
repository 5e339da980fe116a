"""The sharpest frame in each interval of a video, every picture once.

Two passes: the first measures every frame at a small size, the second writes those chosen.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

ENDINGS = {".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".mts", ".3gp"}
MEASURED = 480
"""Longer side at which sharpness is measured."""
SMALL = 48
"""Side of the picture by which two frames are compared."""
SAME = 2.0
"""Mean difference of the tenth that changes most, of 255: below it two frames show one picture."""
HELD = 10.0
"""The same for a video that mostly stands still: each new key frame of a coarse codec changes a held picture by
five or six, another photograph by more than twenty."""
STILL = 0.5
"""Median difference of neighbours below which it does."""


@dataclass(frozen=True)
class Frame:
    """One frame as the first pass sees it."""

    index: int
    sharpness: float
    small: UInt8[np.ndarray, "s s"]


def is_video(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS


def choose(frames: list[Frame], most: int) -> list[int]:
    """Indices of the sharpest frame of each interval.

    Neighbours that show one picture (a held photograph, a camera at rest) count as one. Where more than
    ``most`` remain, they are divided into that many intervals of equal numbers.
    """
    steps = [difference(a.small, b.small) for a, b in itertools.pairwise(frames)]
    same = HELD if steps and np.median(steps) < STILL else SAME
    groups: list[list[Frame]] = []
    for frame in frames:
        if groups and difference(groups[-1][0].small, frame.small) < same:
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
    """Mean absolute difference of the tenth of all places that differ most, in grey values of 255."""
    change = np.abs(a.astype(np.int16) - b.astype(np.int16)).ravel()
    tenth = max(1, len(change) // 10)
    return float(np.partition(change, -tenth)[-tenth:].mean())


def sharpness(grey: UInt8[np.ndarray, "h w"]) -> float:
    """Variance of the Laplacian over the variance of the grey values: blur lowers it, exposure does not."""
    g: Float[np.ndarray, "h w"] = grey.astype(np.float32)
    laplacian = 4 * g[1:-1, 1:-1] - g[:-2, 1:-1] - g[2:, 1:-1] - g[1:-1, :-2] - g[1:-1, 2:]
    return float(laplacian.var() / (g.var() + 1.0))


def extract(
    video: Path,
    images: Path,
    most: int,
    size: int,
    start: float,
    end: float | None,
    total: Callable[[int], None],
    tick: Callable[[], None],
) -> tuple[list[tuple[str, int, int, float]], int]:
    """Write the chosen frames as upright jpg; their (name, width, height, seconds), and how many were seen.

    Args:
        total: called with the number of steps, where the file tells it.
        tick: called at each of them.

    Raises:
        ValueError: no video, damaged, without a picture, or no frame between ``start`` and ``end``.
    """
    n = _announced(video)
    total(2 * n if n else 0)
    seen = []
    for i, frame, _, _ in _decoded(video, start, end):
        tick()
        seen.append(_measured(i, frame))
    if not seen:
        until = "its end" if end is None else f"{end:g} s"
        raise ValueError(
            f"no frame of {video} lies between {start:g} s and {until}: change --start and --end"
        )
    chosen = set(choose(seen, most))
    images.mkdir(parents=True, exist_ok=True)
    made = []
    for i, frame, time, aspect in _decoded(video, start, end):
        tick()
        if i not in chosen:
            continue
        picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
        if aspect != 1:  # an anamorphic video: poses want square pixels
            picture = picture.resize(
                (round(picture.width * aspect), picture.height), Image.Resampling.LANCZOS
            )
        picture = Image.fromarray(_turned(np.asarray(picture), frame.rotation))
        longer = max(picture.size)
        if size and longer > size:
            w, h = (max(1, round(s * size / longer)) for s in picture.size)
            picture = picture.resize((w, h), Image.Resampling.LANCZOS, reducing_gap=3.0)
        name = f"frame_{i:06d}.jpg"
        picture.save(images / name, quality=97, subsampling=0)
        made.append((name, picture.width, picture.height, time))
    return made, len(seen)


def _decoded(video: Path, start: float, end: float | None) -> Iterator[tuple[int, Any, float, float]]:
    """Number, frame, seconds since the video's own beginning, and width of a pixel over its height."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise ValueError(f"{video} has no picture, only {len(container.streams)} other streams")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            aspect = float(stream.sample_aspect_ratio or 1)
            # streams of camcorders and broadcasts do not begin at 0
            begin = float((stream.start_time or 0) * (stream.time_base or 0))
            for i, frame in enumerate(container.decode(stream)):
                time = 0.0 if frame.time is None else float(frame.time) - begin
                if end is not None and time > end:
                    return
                if time >= start:
                    yield i, frame, time, aspect
    except FFmpegError as error:
        raise ValueError(
            f"cannot decode {video} ({video.stat().st_size} bytes): {error}. It is no video, damaged or cut off"
        ) from error


def _announced(video: Path) -> int:
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(video)) as container:
            return container.streams.video[0].frames if container.streams.video else 0
    except FFmpegError as error:
        raise ValueError(
            f"cannot open {video} ({video.stat().st_size} bytes): {error}. It is no video, damaged or cut off"
        ) from error


def _measured(index: int, frame: Any) -> Frame:
    scale = min(1.0, MEASURED / max(frame.width, frame.height))
    w, h = (max(8, 2 * round(s * scale / 2)) for s in (frame.width, frame.height))
    grey = frame.reformat(width=w, height=h, format="gray").to_ndarray()[:h, :w]
    small = frame.reformat(width=SMALL, height=SMALL, format="gray", interpolation="AREA").to_ndarray()
    return Frame(index, sharpness(grey), small[:SMALL, :SMALL].copy())


def _turned(pixels: np.ndarray, degrees: int) -> np.ndarray:
    """Upright: phones store portrait videos lying, with the turn beside them."""
    return np.ascontiguousarray(np.rot90(pixels, round(degrees / 90) % 4))
