"""The options of a preparation, and the checks that need no file to be read."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from isosweep.errors import InputError
from isosweep.prepare import segmentation

LAYOUTS = ("neus", "blender", "nerfstudio", "colmap")
MATCHING = ("auto", "exhaustive", "sequential")
CAMERAS = ("auto", "single", "per-image")
LENSES = (
    "pinhole", "simple_pinhole", "simple_radial", "radial", "opencv", "full_opencv",
    "opencv_fisheye", "simple_radial_fisheye", "radial_fisheye",
)  # fmt: skip
"""COLMAP's camera models."""

NOT_REMEMBERED = {"source", "out", "layouts", "threads"}
"""Options that a later call does not take over from an earlier one."""


@dataclass(frozen=True)
class PrepareOptions:
    """The options of one preparation, as scripts/prepare.py takes them.

    Field names are stored in prepare.json and must not change.
    """

    source: Path
    """A video, or a folder of photographs."""
    out: Path
    """The folder of the scene."""
    layouts: tuple[str, ...] = ("colmap", "neus")
    frames: int = 150
    """The most frames that are taken from a video."""
    start: float = 0.0
    """Frames before this time are ignored, in seconds of the video."""
    end: float | None = None
    """Frames after this time are ignored, in seconds of the video; None for its end."""
    size: int = 1600
    """Longer side of the scene's images in pixels. Larger photographs are shrunk; 0 keeps their size."""
    matching: str = "auto"
    """'exhaustive' matches every pair, 'sequential' neighbours; 'auto' decides by the number of images."""
    camera: str = "auto"
    """'auto': one camera for all photographs of one size and focal length."""
    lens: str = "simple_radial"
    """COLMAP's camera model."""
    focal: float | None = None
    """Focal length of all photographs as 35 mm equivalent in mm, instead of what their EXIF states."""
    features: int = 4096
    """The most features of an image."""
    masks: str = "auto"
    """'auto', 'none', 'alpha', 'color:RRGGBB[:tolerance]', 'model:FILE.pt', 'sam:FILE', or a folder."""
    mask_point: tuple[float, ...] | None = None
    """For 'sam': a place on the object, as shares of width and height; None for the middle."""
    mask_features: bool = False
    """Take features only inside the masks, for an object that turns in front of a fixed camera."""
    box: tuple[float, ...] | None = None
    """The region as x0 y0 z0 x1 y1 z1 in world units."""
    sphere: tuple[float, ...] | None = None
    """The region as centre x y z and radius in world units."""
    margin: float = 1.1
    """Radius of the scene's sphere divided by the radius of the region."""
    test_every: int = 0
    """Hold out every n-th view in the layouts that name splits; 0 holds out none."""
    threads: int = 0
    """0 for the cores that the process may use, and one for the poses, which are then the same in each call."""
    seed: int = 0

    def __post_init__(self) -> None:
        # the option is stored for later calls, which may come from another working directory
        for prefix, path in (("", self.mask_folder), ("model:", self.mask_model), ("sam:", self.mask_sam)):
            if path is not None and path.exists():
                object.__setattr__(self, "masks", f"{prefix}{path.resolve()}")

    @property
    def mask_folder(self) -> Path | None:
        """The folder that ``masks`` names, whether it exists or not; None if it names something else."""
        is_keyword = self.masks in ("auto", "none", "alpha", "sam") or self.masks.startswith(
            ("color:", "model:", "sam:")
        )
        return None if is_keyword else Path(self.masks)

    @property
    def mask_model(self) -> Path | None:
        """The segmentation network that ``masks`` names; None if it names something else."""
        return Path(self.masks.removeprefix("model:")) if self.masks.startswith("model:") else None

    @property
    def mask_sam(self) -> Path | None:
        """The weights of Segment Anything that ``masks`` names; None if it names something else."""
        return Path(self.masks[4:]) if self.masks.startswith("sam:") and self.masks != "sam:" else None

    def non_defaults(self) -> dict[str, Any]:
        """The options that differ from their defaults, as JSON values. The manifest keeps them for later calls."""
        found = {}
        for field in fields(PrepareOptions):
            value = getattr(self, field.name)
            if field.name not in NOT_REMEMBERED and value != field.default:
                found[field.name] = list(value) if isinstance(value, tuple) else value
        return found

    def check(self) -> None:
        """Raise ValueError if an option is out of its range, or if the options contradict each other."""
        out = self.out.resolve()
        for option, path in (("the input", self.source), ("--masks", self.mask_folder)):
            if path is not None and out in (path.resolve(), *path.resolve().parents):
                raise InputError(
                    f"{option} {path} lies in --out {self.out}, where files are made, replaced and removed: give "
                    "another folder for --out, or move the input out of it"
                )
        for name in self.layouts:
            _check_choice("--layout", name, LAYOUTS)
        if not self.layouts:
            raise InputError(f"--layout is empty: name one or more of {', '.join(LAYOUTS)}")
        _check_choice("--matching", self.matching, MATCHING)
        _check_choice("--camera", self.camera, CAMERAS)
        _check_choice("--lens", self.lens, LENSES)
        for name, value, least in (
            ("--frames", self.frames, 3),
            ("--size", self.size or 64, 64),
            ("--features", self.features, 128),
            ("--test-every", self.test_every or 2, 2),
            ("--threads", self.threads, 0),
            ("--start", self.start, 0),
            ("--seed", self.seed, 0),
        ):
            if value < least:
                raise InputError(f"{name} must be {least} or more, found {value:g}")
        if self.end is not None and self.end <= self.start:
            raise InputError(f"--end {self.end:g} is not after --start {self.start:g} (seconds of the video)")
        if self.focal is not None and not 5 <= self.focal <= 1000:
            raise InputError(
                f"--focal is a 35 mm equivalent from 5 to 1000 (26 for most phones), found {self.focal:g}"
            )
        if not 1.0 <= self.margin <= 10:
            raise InputError(
                f"--margin is the sphere's radius divided by the region's, from 1 to 10; found {self.margin:g}"
            )
        if self.masks == "sam" or self.masks.startswith("sam:"):
            segmentation.require(self.masks)
        if self.mask_point is not None and not all(0 <= share <= 1 for share in self.mask_point):
            raise InputError(
                f"--mask-point takes x y as shares of width and height, from 0 to 1; found {list(self.mask_point)}"
            )
        if self.box is not None and self.sphere is not None:
            raise InputError("give --box or --sphere, not both")
        if self.box is not None and not all(a < b for a, b in zip(self.box[:3], self.box[3:], strict=True)):
            raise InputError(
                f"--box takes x0 y0 z0 x1 y1 z1 with x0 < x1, y0 < y1 and z0 < z1; found {list(self.box)}"
            )
        if self.sphere is not None and not self.sphere[3] > 0:
            raise InputError(f"--sphere takes x y z radius with a radius above 0; found {list(self.sphere)}")


def merge_options(given: Mapping[str, Any], last: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Complete the options given now by those of the last call for the same folder.

    A box given now replaces a sphere of the last call, and the reverse. Options of the last call that this
    version does not know are ignored.

    Returns:
        The options, and the sorted names of those that come from the last call.
    """
    known = {field.name for field in fields(PrepareOptions)} - NOT_REMEMBERED
    excludes = {"box": "sphere", "sphere": "box"}
    replaced = {excludes[name] for name in given if name in excludes}
    remembered = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in last.items()
        if name in known and name not in given and name not in replaced
    }
    return {**remembered, **given}, sorted(remembered)


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise InputError(f"{option} {value!r} is none of {', '.join(choices)}{hint}")
