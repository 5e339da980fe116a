"""OpenEXR images as photographs: linear light becomes the sRGB curve, as a camera's png has it.

Read with PyAV, which brings FFmpeg's decoder; Pillow has none.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MAGIC = b"v/1\x01"
LONGEST_HEADER = 1 << 20
"""Bytes. A header has some attributes, and perhaps a small preview."""


def is_exr(path: Path) -> bool:
    """Whether a file begins as an OpenEXR image does."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def size(path: Path) -> tuple[int, int]:
    """Width and height that the header announces.

    Raises:
        ValueError: it announces none.
    """
    with path.open("rb") as file:
        head = file.read(LONGEST_HEADER)
    place = 8  # after magic and version; then name, type, length, value
    while (end := head.find(b"\0", place)) > place:
        name, kind = head[place:end], head.find(b"\0", end + 1) + 1
        if not kind or len(head) < kind + 4:
            break
        (length,) = struct.unpack_from("<i", head, kind)
        if name == b"dataWindow" and length == 16 and len(head) >= kind + 20:
            left, top, right, bottom = struct.unpack_from("<4i", head, kind + 4)
            return right - left + 1, bottom - top + 1
        if length < 0:
            break
        place = kind + 4 + length
    raise ValueError("its header announces no size")


def read(path: Path) -> Image.Image:
    """The decoded image, 8 bits by the sRGB curve; light above 1 is white, and colours are straight beside alpha.

    Raises:
        OSError, ValueError: it is damaged, or of a kind that FFmpeg does not read.
    """
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path), format="exr_pipe") as opened:
            frame = next(opened.decode(video=0))
            values = _values(frame)
    except (FFmpegError, StopIteration) as error:
        raise OSError(f"its pixels cannot be decoded ({error or 'there are none'})") from error
    values = np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0)
    if values.ndim == 2:
        return Image.fromarray(_bytes(_curve(values)))
    if values.shape[2] == 4:
        alpha = values[..., 3:].clip(0, 1)
        colour = values[..., :3] / np.maximum(alpha, 1e-6)
        return Image.fromarray(_bytes(np.concatenate([_curve(colour), alpha], -1)))
    return Image.fromarray(_bytes(_curve(values)))


def _values(frame: Any) -> np.ndarray:
    """Linear values [h, w] or [h, w, 3 or 4] of a frame of PyAV, whose planes are of half or of whole floats."""
    name = frame.format.name
    kind = {"16": np.dtype("<f2"), "32": np.dtype("<f4")}.get(name[-4:-2])
    if kind is None or not name.endswith("le") or not name.startswith(("gray", "gbrp", "gbrap")):
        raise ValueError(f"its pixels are {name}, and floats of 16 or 32 bits are read")
    planes = [
        np.frombuffer(plane, kind).reshape(frame.height, plane.line_size // kind.itemsize)[:, : frame.width]
        for plane in frame.planes
    ]
    if name.startswith("gray"):
        return planes[0].astype(np.float32)
    green, blue, red, *alpha = planes
    return np.stack([red, green, blue, *alpha], -1).astype(np.float32)


def _curve(linear: np.ndarray) -> np.ndarray:
    """The sRGB curve (IEC 61966-2-1) of light in [0, 1]."""
    x = linear.clip(0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * values).astype(np.uint8)
