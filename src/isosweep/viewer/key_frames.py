"""Cameras that somebody has kept, for the path of a video: one json in a run's folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from isosweep.errors import InputError
from isosweep.runtime.files import atomic_write_text
from isosweep.viewer.looks import Look, moved

FILE = "key_frames.json"
FRAME = "OpenCV camera-to-world, in the data set's own units"


def append(path: Path, look: Look, to_world: Float[np.ndarray, "4 4"]) -> int:
    """Add a camera to the file; returns how many it has.

    The file: {"frame": FRAME, "cameras": [{"c2w": three rows of four, "fov": of the height in radians, "aspect": width
    over height}, ...]}.

    Args:
        to_world: of the scene in whose units the look is.

    Raises:
        InputError: there is a file, and it is not one of these.
    """
    cameras = read(path) if path.is_file() else []
    there = moved(look, to_world)
    rows = [[round(float(x), 8) for x in row] for row in there.c2w]
    cameras.append({"c2w": rows, "fov": look.fov, "aspect": look.hw[1] / look.hw[0]})
    atomic_write_text(path, json.dumps({"frame": FRAME, "cameras": cameras}, indent=1) + "\n")
    return len(cameras)


def read(path: Path) -> list[dict[str, Any]]:
    """The cameras of a file of `append`, in their order.

    Raises:
        InputError: it is not such a file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        cameras = [dict(one) for one in found["cameras"]]
        sound = all(np.shape(one["c2w"]) == (3, 4) and one["fov"] > 0 < one["aspect"] for one in cameras)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path} holds no key frames ({type(error).__name__}: {error}): move it aside"
        ) from error
    if not sound:
        raise InputError(f"{path}: a key frame needs c2w (three rows of four), fov and aspect: move it aside")
    return cameras
