"""What a preparation is asked for, checked before anything is read."""

import difflib
from dataclasses import dataclass
from pathlib import Path

LAYOUTS = ("neus", "blender", "nerfstudio", "colmap")
MATCHING = ("auto", "exhaustive", "sequential")
CAMERAS = ("auto", "single", "per-image")
LENSES = (
    "pinhole", "simple_pinhole", "simple_radial", "radial", "opencv", "full_opencv",
    "opencv_fisheye", "simple_radial_fisheye", "radial_fisheye",
)  # fmt: skip


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

    def check(self) -> None:
        """Raise ValueError for what cannot be meant."""
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


def _choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"{option} {value!r} is none of {', '.join(choices)}{hint}")
