"""The camera of an image in a transforms json: every key that changes rays is read, or refused by its name.

A value of the frame goes before one of the whole json. Lengths are pixels of the image that the json names.
Models (nerfstudio's names, which are COLMAP's): OPENCV and the perspective ones have k1 to k4, p1 and p2, each 0 where
it is not given; FULL_OPENCV has k5 and k6, too; OPENCV_FISHEYE, or Instant-NGP's is_fisheye, has k1 to k4 in powers of
the angle.
Source: nerfstudio's data conventions and cameras.py; instant-ngp, src/nerf_loader.cu (read_lens, read_focal_length).
"""

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isosweep.data.lens import UNSUPPORTED, Lens, make_lens
from isosweep.data.numbers import short
from isosweep.data.problems import Problems
from isosweep.data.transforms import Entry, Json
from isosweep.runtime.number import is_number

log = logging.getLogger("isosweep")
_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "SIMPLE_RADIAL", "RADIAL")
_FISHEYE = ("OPENCV_FISHEYE", "FISHEYE", "SIMPLE_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
_FAMILIES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(_PERSPECTIVE, ("OPENCV8", "k1 k2 p1 p2 k3 k4")),
    "FULL_OPENCV": ("FULL_OPENCV", "k1 k2 p1 p2 k3 k4 k5 k6"),
    **dict.fromkeys(_FISHEYE, ("OPENCV_FISHEYE", "k1 k2 k3 k4")),
    "THIN_PRISM_FISHEYE": ("THIN_PRISM_FISHEYE", "k1 k2 p1 p2 k3 k4 sx1 sy1"),
}
"""camera_model -> the name in data/lens.py, and the keys of its distortion in that order."""
_LENS_KEY = re.compile(r"k\d*|p\d+|s\d+|b\d+|s[xy]\d+|skew|xi")
"""Keys of lens distortion in any program; those that a model does not read have to be 0."""
_FOCAL = {"x": ("fl_x", "camera_angle_x", "x_fov"), "y": ("fl_y", "camera_angle_y", "y_fov")}
"""Pixels, radians, degrees; the first that is given counts."""


def _any(value: Any) -> bool:
    """Whether a switch is on, or a number or any of several is not 0."""
    return any(map(_any, value)) if isinstance(value, list | tuple) else bool(value)


def _not_off(value: Any) -> bool:
    """Whether a switch is not off; Instant-NGP takes a key that is there as on, whatever its value."""
    return value is not False and value != 0


def _there(value: Any) -> bool:
    return True


_REFUSED: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        r"ftheta_\w+",
        _there,
        "an f-theta lens of Instant-NGP, whose polynomial is not read: resample the images to pin-holes and drop "
        "these keys",
    ),
    (r"latlong|equirectangular", _not_off, UNSUPPORTED["EQUIRECTANGULAR"]),
    (
        r"distortion_params",
        _any,
        "a list of coefficients that is not read: undistort the images and drop the key, or give k1 to k4, p1 and p2",
    ),
    (
        r"fisheye_crop_radius",
        _any,
        "pixels beyond it show nothing, and the key is not read: undistort or crop the images and drop it",
    ),
    (
        r"rolling_shutter_time",
        _any,
        "the camera moved while a row after the other was read: correct the images, or set it to 0 if it is negligible",
    ),
    (
        r"intrinsic_matrix",
        _there,
        "it is not read here: take dataset=linemod, or write its values as fl_x, fl_y, cx and cy and drop the key",
    ),
    (
        r"normal_mts_args",
        _there,
        "the file was written for Mitsuba, whose scale and axes are others: export it for nerfstudio",
    ),
    (
        r"from_na",
        _any,
        "the poses have other axes than OpenGL's: export them as OpenGL camera-to-world and drop the key",
    ),
)
"""Patterns of keys, the values with which they change rays, and why they are refused with what to do."""


@dataclass(frozen=True)
class Length:
    """A focal length as it is given."""

    key: str
    value: float
    """Pixels, or the field of view in radians."""

    def pixels(self, size: float) -> float:
        """In pixels; ``size`` is the image's width or height."""
        return self.value if self.key.startswith("fl_") else 0.5 * size / math.tan(0.5 * self.value)


Focal = tuple[Length | None, Length | None]
"""Along x and y."""


@dataclass(frozen=True)
class Camera:
    """What a json says of one camera; `lens` needs the image's size, too."""

    entry: Entry
    own: Focal
    """The frame's focal lengths."""
    shared: Focal
    """Those of the whole json."""
    centre: tuple[float | None, float | None]
    width: float | None
    height: float | None
    model: str
    """A name of data/lens.py."""
    distortion: tuple[float, ...]

    @property
    def has_size(self) -> bool:
        return self.width is not None and self.height is not None

    def lens(self, width: int, height: int) -> Lens:
        """The lens.

        Args:
            width, height: of the image that the json names, in pixels; used where the json does not give both.

        Raises:
            InputError: no camera has such values.
        """
        w, h = self.width, self.height
        if w is None or h is None:
            # one side alone gives the other by the image's shape: the image may have been reduced
            w, h = w or (h or height) / height * width, h or (w or width) / width * height
        fx, fy = self._focal(w, h)
        cx, cy = (size / 2 if c is None else c for c, size in zip(self.centre, (w, h), strict=True))
        what = f"the camera of {self.entry.given} in {self.entry.file}"
        return make_lens(self.model, round(w), round(h), (fx, fy, cx, cy, *self.distortion), what)

    def _focal(self, w: float, h: float) -> tuple[float, float]:
        """The focal lengths along x and y in pixels; where one is given, it is both.

        A frame's own replaces those of the json, as in Instant-NGP. So it is both of them, unless the json leaves it
        to the frames (fl_x in each frame, and fl_y in the json, as in nerfstudio).
        """
        (own_x, own_y), (json_x, json_y) = (
            (x and x.pixels(w), y and y.pixels(h)) for x, y in (self.own, self.shared)
        )
        if own_x is None and own_y is None:
            fx, fy = json_x, json_y
        else:
            fx = own_x if own_x is not None or json_y is not None else json_x
            fy = own_y if own_y is not None or json_x is not None else json_y
        fx, fy = fx or fy, fy or fx
        assert fx is not None, "read_camera refuses a camera without focal length"
        assert fy is not None
        return fx, fy


class CameraReader:
    """Reads the cameras of entries. Frames that say nothing of their camera share that of their json, read once."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._shared: dict[Path, Camera] = {}

    def read(self, entry: Entry) -> Camera:
        """The camera of an entry. What is wrong is added to the problems; the camera is not to be used then."""
        if not _OTHER_KEYS.issuperset(entry.frame):
            return read_camera(entry, self._problems)
        if entry.file not in self._shared:
            self._shared[entry.file] = read_camera(entry, self._problems)
        return replace(self._shared[entry.file], entry=entry)


_OTHER_KEYS = frozenset(
    (
        "file_path", "transform_matrix", "transform_matrix_start", "transform_matrix_end", "mask_path", "is_bad",
        "depth_file_path", "colmap_im_id", "sharpness", "time", "timestamp", "rotation", "normal_file_path",
    )
)  # fmt: skip
"""Keys of frames that say nothing of a camera."""


def read_camera(entry: Entry, problems: Problems) -> Camera:
    """The camera of an entry. What is wrong is added to ``problems``; the camera is not to be used then."""
    reader = _Reader(entry, problems)
    reader.refuse()
    kind = reader.kind()
    model, keys = _FAMILIES.get(kind, ("PINHOLE", ""))
    distortion = tuple(reader.number(key) or 0.0 for key in keys.split())
    if kind in _FAMILIES:
        reader.refuse_unread(kind, keys.split())
    own, shared = (
        (reader.focal("x", source), reader.focal("y", source)) for source in (entry.frame, entry.meta)
    )
    size = reader.number("w", positive=True), reader.number("h", positive=True)
    centre = reader.number("cx"), reader.number("cy")
    if not any((*own, *shared)) and not reader.noted:
        problems.add(
            f"{entry.file} gives no fl_x, fl_y, camera_angle_x or camera_angle_y for {entry.given}: the focal length "
            "is unknown",
            about=(entry.file, "focal"),
        )
    return Camera(entry, own, shared, centre, *size, model, distortion)


class _Reader:
    """Reads the values of one entry and notes what is wrong with them."""

    def __init__(self, entry: Entry, problems: Problems) -> None:
        self.entry, self.problems, self.noted = entry, problems, False

    def note(self, text: str, source: Json, key: str) -> None:
        # a value of the json is wrong once, not once for each frame
        self.noted = True
        self.problems.add(f"{self.entry.file}: {text}", about=(self.entry.file, id(source), key))

    def number(self, key: str, positive: bool = False) -> float | None:
        source = self.entry.source(key)
        return None if source is None else self.number_of(source, key, positive)

    def number_of(self, source: Json, key: str, positive: bool = False) -> float | None:
        """The number under a key of the frame or of the json; None where it is not given or wrong."""
        value, what = source.get(key), f"{key} of {self.entry.given}"
        if value is None:
            return None
        if not is_number(value):
            self.note(f"{what} is no finite number: {short(value)}", source, key)
            return None
        if positive and value <= 0:
            self.note(f"{what} must be above 0, found {value:g}: export it again", source, key)
            return None
        return float(value)

    def focal(self, axis: str, source: Json) -> Length | None:
        pixels, radians, degrees = _FOCAL[axis]
        if source.get(pixels) is not None:
            value = self.number_of(source, pixels, positive=True)
            return None if value is None else Length(pixels, value)
        for key, unit in ((radians, 1.0), (degrees, math.pi / 180)):
            value = self.number_of(source, key)
            if value is not None:
                return self._angle(source, key, value, unit)
        return None

    def _angle(self, source: Json, key: str, value: float, unit: float) -> Length | None:
        if 0 < value * unit < math.pi:
            return Length(key, value if unit == 1 else math.radians(value))
        name = "radians, above 0 and below pi" if unit == 1 else "degrees, above 0 and below 180"
        hint = ": is it in degrees?" if unit == 1 and math.pi <= value < 180 else ""
        text = f"{key} of {self.entry.given} is the field of view in {name}; found {value:g}{hint}"
        self.note(text, source, key)
        return None

    def kind(self) -> str:
        """The camera model in capitals; OPENCV where none is given, as in nerfstudio."""
        entry, source, key = self.entry, None, ""
        for key in ("camera_model", "camera_type"):
            source = entry.source(key)
            if source is not None:
                break
        kind = "OPENCV" if source is None else str(source[key]).upper()[:60]
        if kind not in _FAMILIES and source is not None:
            more = UNSUPPORTED.get(kind, "undistort the images to pin-holes first")
            self.noted = True
            self.problems.add(
                f"the camera of {entry.given} in {entry.file} has {key} {kind}: expected OPENCV, OPENCV_FISHEYE, "
                f"FULL_OPENCV, THIN_PRISM_FISHEYE, PINHOLE, SIMPLE_PINHOLE, RADIAL or SIMPLE_RADIAL; {more}",
                about=(entry.file, id(source), key),
            )
        fish = entry.source("is_fisheye")
        if fish is None:
            return kind
        if fish["is_fisheye"] not in (True, False):
            self.note(f"is_fisheye is true or false, found {short(fish['is_fisheye'])}", fish, "is_fisheye")
        elif fish["is_fisheye"] and kind in (*_FISHEYE, "THIN_PRISM_FISHEYE"):
            return kind
        elif fish["is_fisheye"] and source is None:
            return "OPENCV_FISHEYE"
        elif fish["is_fisheye"] and kind in _FAMILIES:
            self.note(
                f"is_fisheye and {key} {kind} of {entry.given} contradict each other: drop the one that is wrong",
                fish,
                "is_fisheye",
            )
        return kind

    def refuse(self) -> None:
        """Note every key that changes rays in a way that no pin-hole image shows."""
        for pattern, changes, why in _REFUSED:
            for source in (self.entry.frame, self.entry.meta):
                keys = [
                    k for k, v in source.items() if re.fullmatch(pattern, k) and v is not None and changes(v)
                ]
                if keys:
                    self.note(f"{', '.join(sorted(keys))} (at {self.entry.given}): {why}", source, pattern)

    def refuse_unread(self, kind: str, keys: list[str]) -> None:
        """Note coefficients that the camera model does not have and that are not 0."""
        for source in (self.entry.frame, self.entry.meta):
            unread = [
                k
                for k, v in source.items()
                if _LENS_KEY.fullmatch(k) and k not in keys and v is not None and _any(v)
            ]
            if unread:
                self.note(
                    f"{', '.join(sorted(unread))} of {self.entry.given} bend rays, and camera_model {kind} has only "
                    f"{', '.join(sorted(keys))}: give the model that they belong to (FULL_OPENCV has k5 and k6, "
                    "THIN_PRISM_FISHEYE p1 and p2), or undistort the images",
                    source,
                    "unread",
                )


def disagreement(entry: Entry, width: float, height: float) -> str | None:
    """A warning where one source gives two focal lengths that differ by more than 1%; None where none does."""
    for source in (entry.frame, entry.meta):
        for axis, size in (("x", width), ("y", height)):
            pixels, radians, _ = _FOCAL[axis]
            given, angle = source.get(pixels), source.get(radians)
            if not isinstance(given, int | float) or not isinstance(angle, int | float):
                continue
            implied = Length(radians, angle).pixels(size) if 0 < angle < math.pi else 0.0
            if abs(implied - given) > 0.01 * given:
                return (
                    f"{entry.file}: {pixels}={given:g} and {radians}={angle:g} (which is {implied:g} pixels) of "
                    f"{entry.given} disagree: {pixels} is taken"
                )
    return None
