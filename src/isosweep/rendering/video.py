"""Render a model along a camera path, and write the frames as an mp4 file, a gif, or one png each."""

import io
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from isosweep.config.settings import ExportSettings
from isosweep.errors import InputError
from isosweep.meshes import files
from isosweep.rendering import camera_paths, pictures
from isosweep.rendering.key_frames import key_frame_path
from isosweep.rendering.view_files import RAYS_PER_POINT
from isosweep.rendering.views import Renderable, render_view
from isosweep.runtime import progress
from isosweep.runtime.files import atomic_write_bytes, safe_file_name
from isosweep.types import Cameras, Knobs, Scene

log = logging.getLogger("isosweep")


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: int) -> Path:
    """Write an mp4 file in H.264, whole or not at all; in MPEG-4 part 2 if this build of ffmpeg has no libx264.

    The codec needs even sides: a frame with an odd one gets its last row or column twice.

    Raises:
        InputError: there is no frame, or frames differ in size.
    """
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    if codec == "mpeg4":
        log.warning("this build of ffmpeg has no libx264: %s is written as MPEG-4 part 2", path.name)
    buffer = io.BytesIO()
    stream = None
    with av.open(buffer, mode="w", format="mp4") as container:
        for frame in frames:
            frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
            h, w = frame.shape[:2]
            if stream is None:
                stream = container.add_stream(codec, rate=Fraction(fps))
                stream.height, stream.width, stream.pix_fmt = h, w, "yuv420p"
                if codec == "libx264":
                    stream.options = {"crf": "18"}
            if (h, w) != (stream.height, stream.width):
                raise InputError(
                    f"the frames of a video have one size; found {w}x{h} after {stream.width}x{stream.height}"
                )
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
            )
        if stream is None:
            raise InputError(
                "a video needs at least one frame: set export.video_frames, or export.video=false"
            )
        container.mux(stream.encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, buffer.getvalue())
    return path


def write_gif(path: Path, frames: Sequence[Image.Image], fps: int) -> Path:
    """Write an animation that repeats, whole or not at all. A gif counts time in hundredths of a second."""
    buffer = io.BytesIO()
    first, *rest = frames
    first.save(
        buffer, format="GIF", save_all=True, append_images=rest, duration=round(100 / fps) * 10, loop=0
    )
    atomic_write_bytes(path, buffer.getvalue())
    return path


def export_video(
    model: Renderable,
    scene: Scene,
    knobs: Knobs,
    settings: ExportSettings,
    folder: Path,
) -> dict[str, Path]:
    """Render the cameras of a path once, and write them to ``folder`` in all ``export.video_formats``.

    Returns: 'video' -> <kind>.mp4, 'video_gif' -> <kind>.gif, 'video_png' -> the folder <kind>/ with 0000.png, ...;
    the kind is turntable, spiral, cameras, or the name of the file of key frames.

    Raises:
        InputError: the settings ask for no frames, or the key frames cannot be read.
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    if settings.video_frames < 1:
        raise InputError("a video needs at least one frame: set export.video_frames, or export.video=false")
    kind, seen = _path(scene, settings, settings.video_size)
    h, w = seen.hw[0].tolist()
    _, cameras = _path(scene, settings, max(2, round(settings.video_size / _factor(scene, settings))))
    chunk = max(1, settings.chunk // RAYS_PER_POINT)
    found = {"mp4": folder / f"{kind}.mp4", "gif": folder / f"{kind}.gif", "png": folder / kind}
    found = {form: path for form, path in found.items() if form in settings.video_formats}
    for old in found["png"].glob("*.png") if "png" in found else ():
        old.unlink()  # of a longer video
    small: list[Image.Image] = []

    def frames() -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        for i in progress.through(range(len(cameras)), "rendering the video"):
            out = render_view(model, cameras, i, knobs, scene.background, chunk)
            image = Image.fromarray(files.to_bytes(out["rgb"].numpy()))
            if image.size != (w, h):
                image = image.resize((w, h), Image.Resampling.LANCZOS)
            if "png" in found:
                pictures.write_png(found["png"] / f"{i:04d}.png", np.asarray(image) / 255)
            if "gif" in found:
                small.append(image.quantize(256))
            yield np.asarray(image)

    if "mp4" in found:
        write_video(found["mp4"], frames(), settings.video_fps)
    else:
        deque(frames(), maxlen=0)
    if "gif" in found:
        write_gif(found["gif"], small, settings.video_fps)
    return {"video" if form == "mp4" else f"video_{form}": path for form, path in found.items()}


def _path(scene: Scene, settings: ExportSettings, size: int) -> tuple[str, Cameras]:
    """The name of the path, and its cameras with ``size`` pixels along the longer side."""
    if settings.video_path.endswith(".json"):
        file = Path(settings.video_path)
        return safe_file_name(file.stem), key_frame_path(file, scene, settings.video_frames, size)
    kind = camera_paths.path_kind(scene, settings.video_path)
    return kind, camera_paths.camera_path(scene, kind, settings.video_frames, size)


def _factor(scene: Scene, settings: ExportSettings) -> float:
    """How many times fewer pixels along a side are rendered than written.

    Where it is not set, no more are rendered than the photographs have: a model has seen no finer detail.
    """
    if settings.render_factor is not None:
        return settings.render_factor
    photographs = int(scene.cameras.hw[list(scene.splits["train"])].max())
    return max(1.0, settings.video_size / photographs)
