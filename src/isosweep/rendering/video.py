"""Render a model along a camera path, and write the frames as an mp4 file."""

import io
import logging
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from isosweep.config.settings import ExportSettings
from isosweep.errors import InputError
from isosweep.meshes import files
from isosweep.rendering import camera_paths
from isosweep.rendering.view_files import RAYS_PER_POINT
from isosweep.rendering.views import Renderable, render_view
from isosweep.runtime import progress
from isosweep.runtime.files import atomic_write_bytes
from isosweep.types import Knobs, Scene

log = logging.getLogger("isosweep")


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: int) -> Path:
    """Write an mp4 file in H.264, whole or not at all; in MPEG-4 part 2 if this build of ffmpeg has no libx264.

    Raises:
        InputError: there is no frame, a frame has an odd side, or frames differ in size.
    """
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    if codec == "mpeg4":
        log.warning("this build of ffmpeg has no libx264: %s is written as MPEG-4 part 2", path.name)
    buffer = io.BytesIO()
    stream = None
    with av.open(buffer, mode="w", format="mp4") as container:
        for frame in frames:
            h, w = frame.shape[:2]
            if stream is None:
                if h % 2 or w % 2:
                    raise InputError(
                        f"a video needs even sides, found a frame of {w}x{h}: set export.video_size"
                    )
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


def export_video(
    model: Renderable,
    scene: Scene,
    knobs: Knobs,
    settings: ExportSettings,
    folder: Path,
) -> Path:
    """Render the cameras of a path and write them to ``folder``, as turntable.mp4 or spiral.mp4.

    Raises:
        InputError: the settings ask for no frames.
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    kind = camera_paths.path_kind(scene, settings.video_path)
    cameras = camera_paths.camera_path(scene, kind, settings.video_frames, settings.video_size)
    chunk = max(1, settings.chunk // RAYS_PER_POINT)

    def frames():
        for i in progress.through(range(len(cameras)), "rendering the video"):
            out = render_view(model, cameras, i, knobs, scene.background, chunk)
            yield files.to_bytes(out["rgb"].numpy())

    return write_video(folder / f"{kind}.mp4", frames(), settings.video_fps)
