"""A path through cameras that somebody has kept, from a json file as the viewer writes it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from isosweep.errors import InputError
from isosweep.types import Cameras, Scene


def key_frame_path(file: Path, scene: Scene, frames: int, size: int) -> Cameras:
    """Cameras through the key frames of a file, which are equally long apart in time; the first and the last included.

    Centres lie on a natural cubic spline, rotations on one with continuous angular acceleration, and the logarithm of
    the field of view changes linearly. The picture has the first key frame's sides; the longer one has
    ``size`` pixels, and both are even.

    Args:
        file: {"cameras": [{"c2w": three rows of four, "fov": of the height in radians, "aspect": width over height}]},
            OpenCV camera-to-world in the data set's own units.

    Raises:
        InputError: it is no such file, or it has no camera.
    """
    keys = read(file)
    pose = np.array([one["c2w"] for one in keys], dtype=float)
    world = scene.to_world.astype(float)
    scale = float(np.cbrt(np.linalg.det(world[:3, :3])))
    turn = world[:3, :3] / scale
    centre = (pose[:, :, 3] - world[:3, 3]) @ turn / scale
    rotation = Rotation.from_matrix(turn.T @ pose[:, :, :3])
    fov = np.log([one["fov"] for one in keys])
    c2w = np.zeros((frames, 3, 4))
    if len(keys) == 1:
        c2w[:, :, :3], c2w[:, :, 3], opening = rotation.as_matrix(), centre, np.exp(fov).repeat(frames)
    else:
        at, when = np.arange(len(keys)), np.linspace(0, len(keys) - 1, frames)
        c2w[:, :, :3] = RotationSpline(at, rotation)(when).as_matrix()
        c2w[:, :, 3] = CubicSpline(at, centre, bc_type="natural")(when)
        opening = np.exp(np.interp(when, at, fov))
    return _cameras(scene, c2w, opening, float(keys[0]["aspect"]), size)


def read(file: Path) -> list[dict[str, Any]]:
    """The cameras of a file, in their order.

    Raises:
        InputError: there is no such file, or a camera of it lacks something.
    """
    if not file.is_file():
        raise InputError(
            f"export.video_path={file}: there is no such file; the viewer writes one (keep this camera)"
        )
    try:
        cameras = [dict(one) for one in json.loads(file.read_text(encoding="utf-8"))["cameras"]]
        sound = all(np.shape(one["c2w"]) == (3, 4) and one["fov"] > 0 < one["aspect"] for one in cameras)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{file} holds no key frames ({type(error).__name__}: {error})") from error
    if not cameras or not sound:
        raise InputError(
            f"{file} needs one camera or more, each with c2w (three rows of four), fov (of the height, in radians) and "
            "aspect (width over height)"
        )
    return cameras


def _cameras(scene: Scene, c2w: np.ndarray, fov: np.ndarray, aspect: float, size: int) -> Cameras:
    """Cameras with square pixels. fov [F] is of the height, in radians."""
    h, w = (max(2, 2 * round(side / 2)) for side in (size / max(aspect, 1), size * min(aspect, 1)))
    K = torch.zeros(len(c2w), 3, 3)
    focal = torch.tensor([h / 2 / math.tan(angle / 2) for angle in fov.tolist()])
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, 0, 2] = w / 2 - 0.5 + scene.cameras.pixel_centre
    K[:, 1, 2] = h / 2 - 0.5 + scene.cameras.pixel_centre
    K[:, 2, 2] = 1.0
    near = None if scene.cameras.near is None else scene.cameras.near.min().cpu().expand(len(c2w))
    hw = torch.tensor([[h, w]]).expand(len(c2w), 2).clone()
    poses = torch.tensor(c2w, dtype=torch.float32)
    return Cameras(poses, K, hw, scene.cameras.pixel_centre, scene.cameras.ndc, near)
