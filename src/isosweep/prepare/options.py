"""What a preparation is asked for, checked before anything is read."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

LAYOUTS = ("neus", "blender", "nerfstudio", "colmap")
MATCHING = ("auto", "exhaustive", "sequential")
CAMERAS = ("auto", "single", "per-image")
LENSES = (
    "pinhole", "simple_pinhole", "simple_radial", "radial", "opencv", "full_opencv",
    "opencv_fisheye", "simple_radial_fisheye", "radial_fisheye",
)  # fmt: skip


NOT_KEPT = {"source", "out", "layouts", "threads"}
"""Options that a later call does not take over from an earlier one."""


@dataclass(frozen=True)
class Options:
    """One preparation; lengths in pixels, ``box`` and ``sphere`` in the units of the poses."""

    source: Path
    """A video, or a folder of photographs."""
    out: Path
    layouts: tuple[str, ...] = ("colmap", "neus")
    frames: int = 150
    """Most frames taken from a video."""
    start: float = 0.0
    """Seconds of the video before the first frame."""
    end: float | None = None
    size: int = 1600
    """Longer side of the scene's images; larger photographs are shrunk. 0 keeps them."""
    matching: str = "auto"
    camera: str = "auto"
    """'auto': one camera for all photographs of one size and focal length."""
    lens: str = "simple_radial"
    focal: float | None = None
    """Focal length as 35 mm equivalent, in place of what the EXIF says."""
    features: int = 4096
    masks: str = "auto"
    """'auto', 'none', 'alpha', 'color:RRGGBB[:tolerance]', 'model:FILE.pt', or a folder."""
    mask_features: bool = False
    """Take features inside the masks only: for an object that turned before a still camera."""
    box: tuple[float, ...] | None = None
    sphere: tuple[float, ...] | None = None
    margin: float = 1.1
    """Radius of the scene's sphere over that of the region."""
    test_every: int = 0
    """Hold out every n-th view in the layouts that name splits; 0 holds out none."""
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        # kept for later calls, which may come from another folder
        for prefix, path in (("", self.mask_folder), ("model:", self.mask_model)):
            if path is not None and path.exists():
                object.__setattr__(self, "masks", f"{prefix}{path.resolve()}")

    @property
    def mask_folder(self) -> Path | None:
        """The folder that ``masks`` names, there or not; None where it names something else."""
        named = self.masks in ("auto", "none", "alpha") or self.masks.startswith(("color:", "model:"))
        return None if named else Path(self.masks)

    @property
    def mask_model(self) -> Path | None:
        """The network that ``masks`` names."""
        return Path(self.masks.removeprefix("model:")) if self.masks.startswith("model:") else None

    def asked(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON, for a later call that does not name it."""
        found = {}
        for field in fields(Options):
            value = getattr(self, field.name)
            if field.name not in NOT_KEPT and value != field.default:
                found[field.name] = list(value) if isinstance(value, tuple) else value
        return found

    def check(self) -> None:
        """Raise ValueError for what cannot be meant."""
        out = self.out.resolve()
        for option, path in (("the input", self.source), ("--masks", self.mask_folder)):
            if path is not None and out in (path.resolve(), *path.resolve().parents):
                raise ValueError(
                    f"{option} {path} lies in --out {self.out}, where files are made, replaced and removed: give "
                    "another folder for --out, or move the input out of it"
                )
        for name in self.layouts:
            _choice("--layout", name, LAYOUTS)
        if not self.layouts:
            raise ValueError(f"--layout is empty: name one or more of {', '.join(LAYOUTS)}")
        _choice("--matching", self.matching, MATCHING)
        _choice("--camera", self.camera, CAMERAS)
        _choice("--lens", self.lens, LENSES)
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
                raise ValueError(f"{name} must be {least} or more, found {value:g}")
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"--end {self.end:g} is not after --start {self.start:g} (seconds of the video)")
        if self.focal is not None and not 5 <= self.focal <= 1000:
            raise ValueError(f"--focal is the 35 mm equivalent (26 for most phones), found {self.focal:g}")
        if not 1.0 <= self.margin <= 10:
            raise ValueError(
                f"--margin is the sphere's radius over the region's, 1 to 10; found {self.margin:g}"
            )
        if self.box is not None and self.sphere is not None:
            raise ValueError("give --box or --sphere, not both")
        if self.box is not None and not all(a < b for a, b in zip(self.box[:3], self.box[3:], strict=True)):
            raise ValueError(f"--box takes x0 y0 z0 x1 y1 z1 with each 0 below its 1; found {list(self.box)}")
        if self.sphere is not None and not self.sphere[3] > 0:
            raise ValueError(f"--sphere takes x y z radius with a radius above 0; found {list(self.sphere)}")


def merged(given: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Options given now, and of an earlier call those that are not; the names of these.

    A box replaces an earlier sphere, and the reverse.
    """
    known = {field.name for field in fields(Options)} - NOT_KEPT
    dropped = {"box": "sphere", "sphere": "box"}
    without = {dropped[name] for name in given if name in dropped}
    kept = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in before.items()
        if name in known and name not in given and name not in without
    }
    return {**kept, **given}, sorted(kept)


def _choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"{option} {value!r} is none of {', '.join(choices)}{hint}")
