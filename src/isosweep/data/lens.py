"""COLMAP's camera models: the map from the plane z = 1 in front of a camera to its pixels.

Symbols: (u, v) = (x / z, y / z) of a point in OpenCV camera axes, r = |(u, v)|, theta = atan r.
Pixels: the top left pixel covers [0, 1]^2, as COLMAP, nerfstudio and OpenGL count (its centre is 0.5).
Source: colmap/sensor/models.h (4.2); tests/data/test_lens.py compares each with pycolmap.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from isosweep.errors import InputError

Plane = Float[np.ndarray, "n 2"]
Params = Float[np.ndarray, " k"]
Distort = Callable[[Plane, Params], Plane]


@dataclass(frozen=True)
class LensModel:
    """One kind of camera."""

    id: int
    """COLMAP's number of the model; -1 for a model that COLMAP does not have."""
    params: str
    """The names of its parameters in order: one or two focal lengths, the centre, then those of the distortion."""
    distort: Distort | None
    """Maps (u, v) [n, 2] and the distortion's parameters to distorted (u, v); None for a pin-hole camera."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.params.split())

    @property
    def n_focal(self) -> int:
        return 1 if self.names[0] == "f" else 2


@dataclass(frozen=True)
class Lens:
    """One calibrated camera; hashable, so that its undistortion is computed once.

    ``width`` and ``height`` are pixels; ``params`` are in the order of `LensModel.params`, lengths in pixels.
    """

    model: str
    width: int
    height: int
    params: tuple[float, ...]

    @property
    def focal(self) -> tuple[float, float]:
        """fx, fy in pixels."""
        return self.params[0], self.params[MODELS[self.model].n_focal - 1]

    @property
    def centre(self) -> tuple[float, float]:
        n = MODELS[self.model].n_focal
        return self.params[n], self.params[n + 1]

    @property
    def extra(self) -> tuple[float, ...]:
        """The parameters of the distortion, which follow the centre."""
        return self.params[MODELS[self.model].n_focal + 2 :]

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines stay straight: there is no distortion, or all its coefficients are 0."""
        model = MODELS[self.model]
        neutral = model.distort is _divided or model.distort in _POLYNOMIALS
        return model.distort is None or (neutral and not any(self.extra))

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        """The intrinsics without distortion."""
        (fx, fy), (cx, cy) = self.focal, self.centre
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])

    def project(self, plane: Plane) -> Plane:
        """Pixels of the points (u, v); nan where the model is not defined."""
        distort = MODELS[self.model].distort
        with np.errstate(all="ignore"):
            bent = plane if distort is None else distort(plane, np.array(self.extra))
            return bent * np.array(self.focal) + np.array(self.centre)

    def resized(self, width: int, height: int) -> "Lens":
        """The same lens for an image of ``width`` x ``height`` pixels, the real size of a reduced image.

        The two axes are scaled separately, since 1008 / 4033 is not exactly a quarter.
        """
        n = MODELS[self.model].n_focal
        sx, sy = width / self.width, height / self.height
        focal = [self.params[0] * sx, self.params[1] * sy] if n == 2 else [self.params[0] * sx]
        model, params = self.model, (*focal, self.params[n] * sx, self.params[n + 1] * sy, *self.extra)
        if n == 1 and sx != sy:
            # one focal length cannot have two scales: take the same model with two focal lengths
            model = _WITH_TWO_FOCALS[self.model]
            fill = (0.0,) * (len(MODELS[model].names) - 4 - len(self.extra))
            params = (*focal, self.params[0] * sy, *params[1:], *fill)
        return Lens(model, width, height, params)


def make_lens(model: str, width: int, height: int, params: tuple[float, ...], what: str) -> Lens:
    """A `Lens` whose values were checked.

    Args:
        what: the camera in words ('camera 3 of .../cameras.bin'), for error messages.

    Raises:
        ValueError: the model is unknown, the number of parameters is wrong, or no camera can have such values.
    """
    if model in UNSUPPORTED:
        raise InputError(f"{what} is {model}: {UNSUPPORTED[model]}")
    if model not in MODELS:
        raise InputError(f"{what} has the unknown model {model!r}: expected one of {', '.join(MODELS)}")
    names = MODELS[model].names
    if len(params) != len(names):
        raise InputError(
            f"{what} is {model}, which has {len(names)} parameters ({', '.join(names)}); found {len(params)}"
        )
    lens = Lens(model, width, height, tuple(float(p) for p in params))
    if not 0 < width < 2**20 or not 0 < height < 2**20:
        raise InputError(f"{what} is {width}x{height} pixels: no image has that size. Is the file damaged?")
    if not np.isfinite(lens.params).all() or min(lens.focal) <= 0:
        given = ", ".join(f"{n}={p:g}" for n, p in zip(names, lens.params, strict=True))
        raise InputError(f"{what} needs finite parameters and a positive focal length; found {given}")
    K, side = lens.K, max(width, height)
    if min(lens.focal) < 1e-3 * side or np.abs(K[:2, 2] - [width / 2, height / 2]).max() > 10 * side:
        raise InputError(
            f"{what} has a focal length of {min(lens.focal):g} pixels and its axis at ({K[0, 2]:g}, {K[1, 2]:g}) in an "
            f"image of {width}x{height}: no camera is like that. Is the file damaged, or are the units others?"
        )
    return lens


def _radial(plane: Plane) -> np.ndarray:
    return np.square(plane).sum(1)


def _series(x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """1 + c0 x + c1 x^2 + ..."""
    total = np.zeros_like(x)
    for c in coefficients[::-1]:
        total = (total + c) * x
    return 1 + total


def _polynomial(plane: Plane, k: Params) -> Plane:
    """SIMPLE_RADIAL, RADIAL: (u, v) (1 + k1 r^2 + k2 r^4)."""
    return plane * _series(_radial(plane), k)[:, None]


def _tangential(plane: Plane, p1: float, p2: float) -> Plane:
    u, v = plane.T
    r2 = _radial(plane)
    return np.stack(
        [2 * p1 * u * v + p2 * (r2 + 2 * u**2), 2 * p2 * u * v + p1 * (r2 + 2 * v**2)],
        1,
    )


def _opencv(plane: Plane, k: Params) -> Plane:
    """OPENCV: k1 k2 p1 p2."""
    return _polynomial(plane, k[:2]) + _tangential(plane, *k[2:4])


def _opencv8(plane: Plane, k: Params) -> Plane:
    """nerfstudio's OPENCV: k1 k2 p1 p2 k3 k4, radial up to r^8."""
    return _polynomial(plane, k[[0, 1, 4, 5]]) + _tangential(plane, *k[2:4])


def _full_opencv(plane: Plane, k: Params) -> Plane:
    """FULL_OPENCV: k1 k2 p1 p2 k3 k4 k5 k6, a quotient of two polynomials in r^2."""
    r2 = _radial(plane)
    ratio = _series(r2, k[[0, 1, 4]]) / _series(r2, k[5:8])
    return plane * ratio[:, None] + _tangential(plane, *k[2:4])


def _equidistant(plane: Plane) -> Plane:
    """(u, v) theta / r."""
    r = np.sqrt(_radial(plane))
    return plane * np.where(r > 1e-9, np.arctan(r) / np.maximum(r, 1e-9), 1.0)[:, None]


def _fisheye(plane: Plane, k: Params) -> Plane:
    """FISHEYE and the OPENCV_FISHEYE family: (u, v) theta / r (1 + k1 theta^2 + k2 theta^4 + ...)."""
    return _polynomial(_equidistant(plane), k)


def _thin_prism(plane: Plane, k: Params) -> Plane:
    """THIN_PRISM_FISHEYE: k1 k2 p1 p2 k3 k4 sx1 sy1, on the equidistant image."""
    flat = _equidistant(plane)
    r2 = _radial(flat)[:, None]
    return _polynomial(flat, k[[0, 1, 4, 5]]) + _tangential(flat, *k[2:4]) + r2 * k[6:8]


def _rad_tan_thin_prism(plane: Plane, k: Params) -> Plane:
    """RAD_TAN_THIN_PRISM_FISHEYE (Aria): k0..k5 p0 p1 s0..s3."""
    bent = _fisheye(plane, k[:6])
    r2 = _radial(bent)
    prism = np.stack([k[8] * r2 + k[9] * r2**2, k[10] * r2 + k[11] * r2**2], 1)
    return bent + _tangential(bent, k[7], k[6]) + prism


def _fov(plane: Plane, k: Params) -> Plane:
    """FOV: (u, v) atan(2 r tan(omega / 2)) / (r omega) (Devernay and Faugeras 2001)."""
    omega, r = float(k[0]), np.sqrt(_radial(plane))
    if omega**2 < 1e-4:
        return plane * (omega**2 * r**2 / 3 - omega**2 / 12 + 1)[:, None]
    slope = 2 * np.tan(omega / 2)
    factor = np.where(r > 1e-6, np.arctan(r * slope) / np.maximum(r, 1e-6), slope) / omega
    return plane * factor[:, None]


def _divided(plane: Plane, k: Params) -> Plane:
    """DIVISION: the undistorted point is distorted / (1 + k r_d^2) (Fitzgibbon 2001), solved for it."""
    root = 1 - 4 * k[0] * _radial(plane)
    return plane * np.where(root >= 0, 2 / (1 + np.sqrt(np.maximum(root, 0))), np.nan)[:, None]


def _eucm(plane: Plane, k: Params) -> Plane:
    """EUCM: (u, v) / (alpha sqrt(beta r^2 + 1) + 1 - alpha) (Khomutenko et al. 2016)."""
    alpha, beta = k
    return plane / (alpha * np.sqrt(beta * _radial(plane) + 1) + 1 - alpha)[:, None]


_POLYNOMIALS = (_polynomial, _opencv, _opencv8, _full_opencv)
MODELS = {
    "SIMPLE_PINHOLE": LensModel(0, "f cx cy", None),
    "PINHOLE": LensModel(1, "fx fy cx cy", None),
    "SIMPLE_RADIAL": LensModel(2, "f cx cy k", _polynomial),
    "RADIAL": LensModel(3, "f cx cy k1 k2", _polynomial),
    "OPENCV": LensModel(4, "fx fy cx cy k1 k2 p1 p2", _opencv),
    "OPENCV_FISHEYE": LensModel(5, "fx fy cx cy k1 k2 k3 k4", _fisheye),
    "FULL_OPENCV": LensModel(6, "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6", _full_opencv),
    "FOV": LensModel(7, "fx fy cx cy omega", _fov),
    "SIMPLE_RADIAL_FISHEYE": LensModel(8, "f cx cy k", _fisheye),
    "RADIAL_FISHEYE": LensModel(9, "f cx cy k1 k2", _fisheye),
    "THIN_PRISM_FISHEYE": LensModel(10, "fx fy cx cy k1 k2 p1 p2 k3 k4 sx1 sy1", _thin_prism),
    "RAD_TAN_THIN_PRISM_FISHEYE": LensModel(
        11, "fx fy cx cy k0 k1 k2 k3 k4 k5 p0 p1 s0 s1 s2 s3", _rad_tan_thin_prism
    ),
    "SIMPLE_DIVISION": LensModel(12, "f cx cy k", _divided),
    "DIVISION": LensModel(13, "fx fy cx cy k", _divided),
    "SIMPLE_FISHEYE": LensModel(14, "f cx cy", _fisheye),
    "FISHEYE": LensModel(15, "fx fy cx cy", _fisheye),
    "EUCM": LensModel(16, "fx fy cx cy alpha beta", _eucm),
    "OPENCV8": LensModel(
        -1, "fx fy cx cy k1 k2 p1 p2 k3 k4", _opencv8
    ),  # nerfstudio's model; COLMAP does not have it
}
UNSUPPORTED = {
    "EQUIRECTANGULAR": "a panorama has no pin-hole image; cut it into perspective views first "
    "(colmap's panorama_sfm example writes them) and give their model"
}
UNSUPPORTED_IDS = {17: "EQUIRECTANGULAR"}
_WITH_TWO_FOCALS = {
    "SIMPLE_PINHOLE": "PINHOLE",
    "SIMPLE_RADIAL": "OPENCV",
    "RADIAL": "OPENCV",
    "SIMPLE_RADIAL_FISHEYE": "OPENCV_FISHEYE",
    "RADIAL_FISHEYE": "OPENCV_FISHEYE",
    "SIMPLE_DIVISION": "DIVISION",
    "SIMPLE_FISHEYE": "FISHEYE",
}
NAMES = {model.id: name for name, model in MODELS.items() if model.id >= 0}
"""COLMAP's number of a model -> its name."""
