"""DTU in the layout of NeuS (dtu_scan24/, cameras_sphere.npz) or IDR (scan24/, cameras.npz); millimetres."""

from isosweep.data import neus_layout
from isosweep.types import Scene


def load(
    scene: str,
    path: str | None = None,
    root: str = "data",
    downscale: float = 1,
    background: str = "black",
    masks: bool = True,
    radius: float = 1.0,
    n_images: int | None = None,
    test_every: int | None = None,
    truth: str | None = None,
    cache: bool = True,
) -> Scene:
    """Load one DTU scan; see `neus_layout.load`. ``truth`` may name the official stl*_total.ply."""
    return neus_layout.load(
        "dtu",
        scene,
        path,
        root,
        downscale,
        background,
        masks,
        radius,
        world_unit="mm",
        n_images=n_images,
        test_every=test_every,
        truth=truth,
        cache=cache,
    )
