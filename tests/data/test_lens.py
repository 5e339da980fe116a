"""Camera models against pycolmap, and against numbers worked by hand."""

import math

import numpy as np
import pytest

from isosweep.data.lens import MODELS, NAMES, Lens, make_lens

RNG = np.random.default_rng(0)


def example(name: str) -> Lens:
    model = MODELS[name]
    focal = (500.0,) if model.n_focal == 1 else (500.0, 510.0)
    n = len(model.names) - model.n_focal - 2
    extra = {"FOV": (0.9,), "EUCM": (0.6, 1.1)}.get(name) or tuple(RNG.normal(0, 0.02, n).tolist())
    return make_lens(name, 640, 480, (*focal, 320.0, 240.0, *extra), name)


@pytest.mark.parametrize("name", sorted(NAMES.values()))
def test_every_model_projects_as_pycolmap_does(name: str) -> None:
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed: nothing to compare with")
    lens = example(name)
    if name not in pycolmap.CameraModelId.__members__:
        pytest.skip(f"pycolmap {pycolmap.__version__} does not know {name}")
    camera = pycolmap.Camera(camera_id=1, model=name, width=640, height=480, params=lens.params)
    assert int(camera.model) == MODELS[name].id
    assert tuple(camera.params_info.split(", ")) == MODELS[name].names or "omega" in camera.params_info
    plane = np.concatenate([RNG.uniform(-0.6, 0.6, (300, 2)), [[0.0, 0], [1e-12, 0], [0, 1e-7]]])
    expected = camera.img_from_cam(np.column_stack([plane, np.ones(len(plane))]))
    assert np.abs(lens.project(plane) - expected).max() < 1e-9


def test_numbers_by_hand() -> None:
    """f = 100, centre (50, 40); at (u, v) = (0.6, 0.8), r = 1: k = 0.1 moves the point out by a tenth."""
    point = np.array([[0.6, 0.8]])
    assert np.allclose(Lens("SIMPLE_PINHOLE", 100, 80, (100, 50, 40)).project(point), [[110, 120]])
    assert np.allclose(Lens("SIMPLE_RADIAL", 100, 80, (100, 50, 40, 0.1)).project(point), [[116, 128]])
    # p1 = 0.01: 2 p1 u v = 0.0096 and p1 (r^2 + 2 v^2) = 0.0228
    bent = Lens("OPENCV", 100, 80, (100, 100, 50, 40, 0, 0, 0.01, 0)).project(point)
    assert np.allclose(bent, [[110.96, 122.28]])
    # equidistant: theta = 45 degrees along (0.6, 0.8)
    bent = Lens("FISHEYE", 100, 80, (100, 100, 50, 40)).project(point)
    assert np.allclose(bent, [[50 + 60 * math.pi / 4, 40 + 80 * math.pi / 4]])


def test_nerfstudios_opencv_goes_to_the_eighth_power() -> None:
    """At r = 1, k1 + k2 + k3 + k4 add up; k4 is no denominator as in FULL_OPENCV."""
    lens = Lens("OPENCV8", 100, 80, (100, 100, 50, 40, 0.1, 0.2, 0, 0, 0.3, 0.4))
    assert np.allclose(lens.project(np.array([[0.6, 0.8]])), [[50 + 120, 40 + 160]])


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_smaller_image_sees_the_same_rays(name: str) -> None:
    lens = example(name)
    plane = RNG.uniform(-0.5, 0.5, (50, 2))
    for width, height in ((160, 120), (161, 120)):
        small = lens.resized(width, height)
        scale = np.array([width / 640, height / 480])
        assert np.abs(small.project(plane) - lens.project(plane) * scale).max() < 1e-9


def test_which_lenses_are_pin_holes() -> None:
    assert Lens("RADIAL", 10, 10, (9, 5, 5, 0, 0)).is_pinhole
    assert Lens("OPENCV", 10, 10, (9, 9, 5, 5, 0, 0, 0, 0)).is_pinhole
    assert not Lens("OPENCV", 10, 10, (9, 9, 5, 5, 0, 0, 0, 1e-9)).is_pinhole
    assert not Lens("FISHEYE", 10, 10, (9, 9, 5, 5)).is_pinhole
    assert not Lens("OPENCV_FISHEYE", 10, 10, (9, 9, 5, 5, 0, 0, 0, 0)).is_pinhole


@pytest.mark.parametrize(
    ("model", "size", "params", "words"),
    [
        (
            "PINHOLA",
            (4, 4),
            (1, 1, 2, 2),
            "c has the unknown model 'PINHOLA': expected one of SIMPLE_PINHOLE",
        ),
        ("PINHOLE", (4, 4), (1, 2, 2), r"c is PINHOLE, which has 4 parameters \(fx, fy, cx, cy\); found 3"),
        ("PINHOLE", (0, 4), (1, 1, 2, 2), "c is 0x4 pixels: no image has that size"),
        ("PINHOLE", (4, 4), (1, float("nan"), 2, 2), "c needs finite parameters .*found fx=1, fy=nan"),
        ("PINHOLE", (4, 4), (-1, 1, 2, 2), "positive focal length; found fx=-1"),
        ("EQUIRECTANGULAR", (4, 4), (4, 4), "c is EQUIRECTANGULAR: a panorama has no pin-hole image"),
    ],
)
def test_cameras_that_are_none(model: str, size: tuple[int, int], params: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_lens(model, *size, params, "c")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ((0.3, 100.0, 50.0, 40.0), r"focal length of 0\.3 pixels"),
        ((100.0, 0.3, 50.0, 40.0), r"focal length of 0\.3 pixels"),
        ((100.0, 100.0, 4300.0, 40.0), r"axis at \(4300, 40\) in an image of 400x80: no camera is like that"),
        ((100.0, 100.0, 50.0, -4000.0), r"axis at \(50, -4000\)"),
    ],
)
def test_a_camera_that_cannot_be(params: tuple[float, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_lens("PINHOLE", 400, 80, params, "it")
    make_lens("PINHOLE", 400, 80, (0.5, 0.5, 4000.0, -3900.0), "a crop far from the axis")
