"""Cameras of transforms jsons, for dataset=nerfstudio and dataset=blender alike, against formulas written here.

A direction (x, y, z) is in OpenCV camera axes; (u, v) = (x / z, y / z), r = |(u, v)|, t = atan r.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isosweep.data import capture
from isosweep.data.decode import Source
from isosweep.geometry import pixel_rays, similarity_scale
from isosweep.types import Scene
from tests.support.transforms import DIALECTS, HEIGHT, SHARED, WIDTH, few, load, pose, write_scene

Forward = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(u, v) to pixels of the image."""
SIZE = {"w": WIDTH, "h": HEIGHT}
K1, K2, K3, K4, K5, K6 = 0.08, -0.03, 0.02, -0.01, 0.015, 0.005
P1, P2 = 0.004, -0.006


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))


def pin_hole(fx: float, fy: float, cx: float = WIDTH / 2, cy: float = HEIGHT / 2) -> Forward:
    return lambda u, v: (fx * u + cx, fy * v + cy)


def bent(f: float, factor: Callable[[np.ndarray], np.ndarray], p1: float = 0, p2: float = 0) -> Forward:
    """A lens with a radial factor of r, and a tangential part: Brown's model as OpenCV writes it."""

    def forward(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r2 = u * u + v * v
        s = factor(np.sqrt(r2))
        x = u * s + 2 * p1 * u * v + p2 * (r2 + 2 * u * u)
        y = v * s + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v
        return f * x + 20, f * y + 15

    return forward


def fisheye(f: float, k1: float = 0, k2: float = 0, k3: float = 0, k4: float = 0) -> Forward:
    """OpenCV's fisheye: the radius in the image is f t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8)."""

    def forward(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r = np.hypot(u, v)
        t = np.arctan(r)
        d = t + k1 * t**3 + k2 * t**5 + k3 * t**7 + k4 * t**9
        return f * d * u / r + 20, f * d * v / r + 15

    return forward


def thin_prism(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """COLMAP's: Brown's model and a prism on the equidistant image (a, b)."""
    r = np.hypot(u, v)
    a, b = np.arctan(r) * u / r, np.arctan(r) * v / r
    x, y = bent(1, lambda q: 1 + K1 * q**2 + K2 * q**4 + K3 * q**6 + K4 * q**8, P1, P2)(a, b)
    q2 = a * a + b * b
    return 45 * (x - 20 + 0.003 * q2) + 20, 45 * (y - 15 - 0.002 * q2) + 15


CENTRED = SHARED
CAMERAS: dict[str, tuple[dict[str, Any], Forward]] = {
    "angle": ({"camera_angle_x": 0.8}, pin_hole(20 / math.tan(0.4), 20 / math.tan(0.4))),
    "both angles": (
        {"camera_angle_x": 0.8, "camera_angle_y": 0.5},
        pin_hole(20 / math.tan(0.4), 15 / math.tan(0.25)),
    ),
    "angle of y": ({"camera_angle_y": 0.5}, pin_hole(15 / math.tan(0.25), 15 / math.tan(0.25))),
    "degrees": ({"x_fov": 50.0, "y_fov": 40.0}, pin_hole(42.890138411, 41.212161287)),
    "BlenderNeRF": (
        {"camera_angle_x": 0.8364486591584581, "camera_angle_y": 0.6435011087932844, "fl_x": 45.0, "fl_y": 45.0,
         "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, "cx": 20.0, "cy": 15.0, "w": 40.0, "h": 30.0, "aabb_scale": 4},
        pin_hole(45, 45),
    ),
    "pixels and centre": (
        {**SIZE, "fl_x": 41.0, "fl_y": 47.5, "cx": 18.25, "cy": 16.5},
        pin_hole(41, 47.5, 18.25, 16.5),
    ),
    "pixels before angles": ({**SIZE, "fl_x": 41.0, "camera_angle_x": 0.9076}, pin_hole(41, 41)),
    "a larger calibration": (
        {"w": 80, "h": 60, "fl_x": 100.0, "fl_y": 90.0, "cx": 44.0, "cy": 28.0},
        pin_hole(50, 45, 22, 14),
    ),
    "PINHOLE": ({**CENTRED, "camera_model": "PINHOLE"}, pin_hole(45, 45)),
    "SIMPLE_PINHOLE": ({"camera_model": "SIMPLE_PINHOLE", **SIZE, "fl_x": 45.0}, pin_hole(45, 45)),
    "SIMPLE_RADIAL": (
        {**CENTRED, "camera_model": "SIMPLE_RADIAL", "k1": K1},
        bent(45, lambda r: 1 + K1 * r**2),
    ),
    "RADIAL": (
        {**CENTRED, "camera_model": "RADIAL", "k1": K1, "k2": K2},
        bent(45, lambda r: 1 + K1 * r**2 + K2 * r**4),
    ),
    "OPENCV": (
        {**CENTRED, "camera_model": "OPENCV", "k1": K1, "k2": K2, "p1": P1, "p2": P2},
        bent(45, lambda r: 1 + K1 * r**2 + K2 * r**4, P1, P2),
    ),
    "OPENCV with k3 and k4": (
        {**CENTRED, "camera_model": "OPENCV", "k1": K1, "k2": K2, "k3": K3, "k4": K4},
        bent(45, lambda r: 1 + K1 * r**2 + K2 * r**4 + K3 * r**6 + K4 * r**8),
    ),
    "Instant-NGP's distortion": (
        {"camera_angle_x": 2 * math.atan(20 / 45), "k1": -K1, "k2": K2, "p1": P1, "p2": P2, "aabb_scale": 16},
        bent(45, lambda r: 1 - K1 * r**2 + K2 * r**4, P1, P2),
    ),
    "FULL_OPENCV": (
        {**CENTRED, "camera_model": "FULL_OPENCV", "k1": K1, "k2": K2, "p1": P1, "p2": P2, "k3": K3, "k4": K4,
         "k5": K5, "k6": K6},
        bent(45, lambda r: (1 + K1 * r**2 + K2 * r**4 + K3 * r**6) / (1 + K4 * r**2 + K5 * r**4 + K6 * r**6), P1, P2),
    ),
    "equidistant": ({**CENTRED, "camera_model": "OPENCV_FISHEYE"}, fisheye(45)),
    "OPENCV_FISHEYE": (
        {**CENTRED, "camera_model": "OPENCV_FISHEYE", "k1": K1, "k2": K2, "k3": K3, "k4": K4},
        fisheye(45, K1, K2, K3, K4),
    ),
    "is_fisheye": (
        {**CENTRED, "is_fisheye": True, "k1": K1, "k2": K2, "k3": K3, "k4": K4},
        fisheye(45, K1, K2, K3, K4),
    ),
    "is_fisheye of zeros": ({**CENTRED, "is_fisheye": True, "k1": 0.0}, fisheye(45)),
    "is_fisheye is false": (
        {**CENTRED, "is_fisheye": False, "k1": K1},
        bent(45, lambda r: 1 + K1 * r**2),
    ),
    "THIN_PRISM_FISHEYE": (
        {**CENTRED, "camera_model": "THIN_PRISM_FISHEYE", "k1": K1, "k2": K2, "p1": P1, "p2": P2, "k3": K3, "k4": K4,
         "sx1": 0.003, "sy1": -0.002},
        thin_prism,
    ),
    "RADIAL_FISHEYE": (
        {**CENTRED, "camera_model": "RADIAL_FISHEYE", "k1": K1, "k2": K2},
        fisheye(45, K1, K2),
    ),
}  # fmt: skip


def decoded_with(monkeypatch: pytest.MonkeyPatch, load_it: Callable[[], Scene]) -> tuple[Scene, list[Source]]:
    """A scene, and how each of its views is decoded."""
    seen: list[Source] = []
    real = capture.load_images

    def spy(sources: Any, *rest: Any) -> Any:
        seen.extend(sources)
        return real(sources, *rest)

    monkeypatch.setattr(capture, "load_images", spy)
    return load_it(), seen


def local(scene: Scene, view: int, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(u, v) of all pixels of a view from its rays in the world and the pose of frame i, and the pixels (x, y)."""
    h, w = scene.images.hw[view].tolist()
    row, col = (a.reshape(-1) for a in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    rays = pixel_rays(scene.cameras, torch.full_like(row, view), row, col, torch.zeros(3))
    world = rays.dirs.double().numpy() @ scene.to_world[:3, :3].T / similarity_scale(scene.to_world)
    x, y, z = (world @ pose(i)[:3, :3]).T
    return x / -z, -y / -z, np.stack([col.numpy() + 0.5, row.numpy() + 0.5], 1)


def worst(scene: Scene, sources: list[Source], forward: Callable[[int], Forward]) -> float:
    """Pixels between where the image is read for a ray and where the formula sees that ray, at most."""
    off = 0.0
    for view, source in enumerate(sources):
        i = int(source.image.stem)
        u, v, pixel = local(scene, view, i)
        read = pixel
        if source.warp is not None:
            K = scene.cameras.K[view].double().numpy()
            read = source.warp.lens.project((pixel - K[:2, 2]) / K[[0, 1], [0, 1]])
        off = max(off, float(np.abs(np.stack(forward(i)(u, v), 1) - read).max()))
    return off


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("per_frame", [False, True], ids=["json", "frames"])
@pytest.mark.parametrize("camera", CAMERAS)
def test_rays_are_those_of_the_formula(
    camera: str, per_frame: bool, dialect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, forward = CAMERAS[camera]
    # the frames' values go before those of the json
    wrong = dict.fromkeys(set(values) & {"fl_x", "fl_y", "cx", "cy", "k1", "k2"}, 7.0)
    meta, frame = (wrong, values) if per_frame else (values, {})
    folder = write_scene(tmp_path, dialect, meta, lambda i: frame, few(dialect))
    scene, sources = decoded_with(monkeypatch, lambda: load(dialect, folder))
    assert len(sources) == 3
    assert worst(scene, sources, lambda i: forward) < 1e-3
    # and the pixels are those of that place: red and green tell it to a twelfth of a pixel, and rounding
    u, v, _ = local(scene, 0, int(sources[0].image.stem))
    x, y = (a.reshape(scene.images.hw[0].tolist()) for a in forward(u, v))
    rgb = scene.images.image(0)[0].numpy() * 255
    inside = (x > 0.5) & (x < WIDTH - 0.5) & (y > 0.5) & (y < HEIGHT - 0.5)
    assert inside.mean() > 0.8
    assert np.abs(rgb[..., 0] / 6 - x)[inside].max() < 0.18
    assert np.abs(rgb[..., 1] / 6 - y)[inside].max() < 0.18


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_frame_may_have_a_camera_of_its_own(
    dialect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Polycam's and Record3D's captures have them; and one frame may even be of another model."""

    def frame(i: int) -> dict[str, Any]:
        if i == 4:
            return {"camera_model": "OPENCV_FISHEYE", **CENTRED, "k1": K1}
        return {"fl_x": 40.0 + i, "fl_y": 42.0 + i, "cx": 19.0 + 0.25 * i, "cy": 15.5 - 0.25 * i, **SIZE}

    folder = write_scene(tmp_path, dialect, {"camera_model": "OPENCV"}, frame)
    scene, sources = decoded_with(monkeypatch, lambda: load(dialect, folder))
    formula = lambda i: (  # noqa: E731
        fisheye(45, K1) if i == 4 else pin_hole(40 + i, 42 + i, 19 + 0.25 * i, 15.5 - 0.25 * i)
    )
    assert worst(scene, sources, formula) < 1e-3


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("meta", "frame", "focal"),
    [
        ({"fl_x": 40.0, "fl_y": 44.0}, {"fl_x": 60.0}, (60, 60)),
        ({"fl_x": 40.0, "fl_y": 44.0}, {"fl_y": 60.0}, (60, 60)),
        ({"fl_x": 40.0, "fl_y": 44.0}, {"camera_angle_x": math.pi / 2}, (20, 20)),
        ({"fl_y": 44.0}, {"fl_x": 60.0}, (60, 44)),
        ({"camera_angle_x": math.pi / 2}, {"fl_y": 60.0}, (20, 60)),
        ({"camera_angle_x": math.pi / 2}, {"fl_x": None, "camera_angle_x": None}, (20, 20)),
        ({"fl_x": 40.0}, {"fl_x": 60.0, "fl_y": 44.0}, (60, 44)),
    ],
)
def test_a_frames_focal_length_replaces_that_of_the_json(
    meta: dict, frame: dict, focal: tuple[float, float], dialect: str, tmp_path: Path
) -> None:
    folder = write_scene(tmp_path, dialect, meta, lambda i: frame)
    K = load(dialect, folder).cameras.K[3]
    assert (K[0, 0].item(), K[1, 1].item()) == pytest.approx(focal, rel=1e-6)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_two_focal_lengths_that_disagree_are_told(
    dialect: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(dialect, write_scene(tmp_path, dialect, {**SIZE, "fl_x": 41.0, "camera_angle_x": 0.9076}))
    assert "disagree" not in caplog.text
    load(dialect, write_scene(tmp_path, dialect, {**SIZE, "fl_x": 41.0, "camera_angle_x": 0.5}))
    assert "fl_x=41 and camera_angle_x=0.5 (which is 78.3263 pixels) of" in caplog.text  # 20 / tan 0.25


@pytest.mark.parametrize("dialect", DIALECTS)
def test_applied_transform_leads_back_to_the_user(dialect: str, tmp_path: Path) -> None:
    """The json's poses are applied_scale * applied_transform of the user's."""
    applied = np.array([[0.0, 1, 0, 0.5], [1, 0, 0, -1], [0, 0, -1, 2], [0, 0, 0, 1]])
    turn = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])

    def frame(i: int) -> dict[str, Any]:
        matrix = applied @ pose(i)
        matrix[:3, 3] *= 0.25
        return {"transform_matrix": matrix.tolist()}

    meta = {**SHARED, "applied_transform": applied[:3].tolist(), "applied_scale": 0.25}
    scene = load(dialect, write_scene(tmp_path, dialect, meta, frame))
    np.testing.assert_allclose(turn @ turn, np.eye(3))  # the transform is one of a right-handed frame
    for view in range(9):
        eye = scene.to_world[:3] @ np.append(scene.cameras.c2w[view, :, 3].double().numpy(), 1)
        np.testing.assert_allclose(eye, pose(view)[:3, 3], atol=1e-5)
