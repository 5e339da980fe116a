"""The cameras of a video.

A turntable around an object, a spiral in front of a forward-facing scene, or the way of the photographer, smoothed.
Paths through key frames are in key_frames.py.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from isosweep.geometry import look_at
from isosweep.types import Cameras, Scene

SWING = math.radians(120)
"""The turntable does not cross a gap between neighbouring cameras that is wider than this angle (radians)."""


FORWARD = 0.95
"""If the mean of the unit viewing directions is longer than this, the cameras look one way: 'forward-facing'."""


def path_kind(scene: Scene, choice: str) -> str:
    """'turntable', 'spiral' or 'cameras'.

    Args:
        choice: one of ``VIDEO_PATHS``; 'auto' is a spiral if the cameras look one way, else a turntable. A scene in
            normalised device coordinates never gets a turntable, because it can be seen from one side only.
    """
    if scene.cameras.ndc is not None:
        return "cameras" if choice == "cameras" else "spiral"
    if choice != "auto":
        return choice
    views = scene.splits["train"]
    ahead = scene.cameras.c2w[list(views)].double().cpu().numpy()[:, :, 2]
    one_way = float(np.linalg.norm(ahead.mean(axis=0))) > FORWARD and len(views) > 1
    return "spiral" if one_way else "turntable"


def camera_path(scene: Scene, kind: str, frames: int, size: int) -> Cameras:
    """The cameras of a video.

    Args:
        kind: of ``path_kind``.
        frames: number of cameras.
        size: pixels along the longer side.
    """
    cameras, views = scene.cameras, scene.splits["train"]
    if kind == "turntable":
        return turntable(cameras, views, frames, size)
    if kind == "cameras":
        return along(cameras, views, frames, size)
    near, far = scene.near_far
    centre = cameras.c2w[list(views)].double().cpu().numpy()[:, :, 3].mean(axis=0)
    focus = float(np.linalg.norm(centre)) if cameras.ndc is None else 1 / (0.25 / near + 0.75 / (5 * far))
    return spiral(cameras, views, frames, size, focus)


def spiral(cameras: Cameras, views: Sequence[int], frames: int, size: int, focus: float) -> Cameras:
    """A spiral of two turns about the mean camera, which also moves once forward and once backward.

    Every camera looks at the point ``focus`` (units of the poses) in front of the mean camera. The spiral's half widths
    are the 90th percentiles of the cameras' distances from the mean camera, as in NeRF's render_path_spiral.
    """
    pose = cameras.c2w[list(views)].double().cpu().numpy()
    forward, up = _unit(pose[:, :, 2].mean(axis=0)), -pose[:, :, 1].mean(axis=0)
    mean = look_at(pose[:, :, 3].mean(axis=0), pose[:, :, 3].mean(axis=0) + forward, up)
    reach = np.percentile(np.abs((pose[:, :, 3] - mean[:, 3]) @ mean[:, :3]), 90, axis=0)
    made = []
    for angle in np.arange(frames) / frames * 4 * math.pi:
        swing = np.array([math.cos(angle), math.sin(angle), -math.sin(angle / 2)])
        eye = mean[:, :3] @ (swing * reach) + mean[:, 3]
        made.append(look_at(eye, mean[:, 3] + focus * forward, up))
    return _framed(cameras, views[0], np.stack(made), size)


SMOOTHED = 1.5
"""The standard deviation, in views, of the Gaussian that smooths the photographer's way."""


def along(cameras: Cameras, views: Sequence[int], frames: int, size: int) -> Cameras:
    """Cameras along the views in their order, from the first to the last.

    A frame at the place u in [0, V - 1] has the mean of the V poses with weights exp(-(i - u)^2 / (2 `SMOOTHED`^2)): of
    the centres, and of the rotation matrices, of which the nearest rotation is taken.
    """
    pose = cameras.c2w[list(views)].double().cpu().numpy()
    place = np.linspace(0, len(views) - 1, frames)[:, None]
    weight = np.exp(-0.5 * ((np.arange(len(views)) - place) / SMOOTHED) ** 2)
    weight /= weight.sum(axis=1, keepdims=True)
    mean = np.einsum("fv,vij->fij", weight, pose)
    mean[:, :, :3] = nearest_rotation(mean[:, :, :3])
    return _framed(cameras, views[0], mean, size)


def nearest_rotation(matrices: np.ndarray) -> np.ndarray:
    """The rotations [F, 3, 3] nearest to matrices in the Frobenius norm: U diag(1, 1, det(U V^T)) V^T of U S V^T."""
    u, _, vt = np.linalg.svd(matrices)
    flip = np.ones((len(matrices), 3))
    flip[:, 2] = np.linalg.det(u @ vt)
    return (u * flip[:, None, :]) @ vt


def turntable(cameras: Cameras, views: Sequence[int], frames: int, size: int) -> Cameras:
    """Cameras on a circle about the origin, which is the centre of the scene's box; they look at the origin.

    The up axis, the radius and the elevation are the means of the cameras' own; the field of view is that of the first.
    If the cameras leave more than 120 degrees of the circle empty, as for a scene photographed from one side, the path
    swings over the part that they cover, and back. The longer side has ``size`` pixels; both sides are even, because
    video codecs need it.
    """
    pose = cameras.c2w[list(views)].double().cpu().numpy()
    centre = pose[:, :, 3]
    up = _unit(-pose[:, :, 1].mean(axis=0))
    distance = np.linalg.norm(centre, axis=1)
    radius = float(distance.mean())
    sine = float(np.clip((centre @ up / np.maximum(distance, 1e-9)).mean(), -0.9, 0.9))
    side = _unit(np.cross(up, [1.0, 0, 0] if abs(up[0]) < 0.9 else [0, 1.0, 0]))
    front = np.cross(side, up)
    azimuth = np.sort(np.arctan2(centre @ front, centre @ side))

    gaps = np.diff(azimuth, append=azimuth[0] + 2 * math.pi)
    widest = int(np.argmax(gaps))
    turn = np.arange(frames) / frames * 2 * math.pi
    if gaps[widest] > SWING and len(views) > 1:
        half = (2 * math.pi - gaps[widest]) / 2
        turn = azimuth[(widest + 1) % len(azimuth)] + half + half * np.sin(turn)
    made = []
    for angle in turn:
        flat = math.sqrt(1 - sine * sine)
        away = flat * (math.cos(angle) * side + math.sin(angle) * front) + sine * up
        right = _unit(np.cross(-away, up))
        made.append(np.column_stack([right, np.cross(-away, right), -away, radius * away]))

    return _framed(cameras, views[0], np.stack(made), size)


def _framed(cameras: Cameras, view: int, c2w: np.ndarray, size: int) -> Cameras:
    """Poses with the field of view of ``view``; the longer side has ``size`` pixels, both are even."""
    frames = len(c2w)
    h, w = cameras.hw[view].tolist()
    scale = size / max(h, w)
    new_h, new_w = (max(2, 2 * round(s * scale / 2)) for s in (h, w))
    K = torch.zeros(frames, 3, 3)
    K[:, 0, 0] = float(cameras.K[view, 0, 0]) * new_w / w
    K[:, 1, 1] = float(cameras.K[view, 1, 1]) * new_h / h
    K[:, 0, 2] = new_w / 2 - 0.5 + cameras.pixel_centre
    K[:, 1, 2] = new_h / 2 - 0.5 + cameras.pixel_centre
    K[:, 2, 2] = 1.0
    hw = torch.tensor([[new_h, new_w]]).expand(frames, 2).clone()
    # between the photographs nothing tells where the nearest thing is: the nearest of all views is safe
    near = None if cameras.near is None else cameras.near.min().cpu().expand(frames)
    return Cameras(torch.tensor(c2w, dtype=torch.float32), K, hw, cameras.pixel_centre, cameras.ndc, near)


def _unit(vector: np.ndarray) -> np.ndarray:
    """The vector at unit length; the z axis for a vector of length 0, as from cameras whose up axes cancel."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
