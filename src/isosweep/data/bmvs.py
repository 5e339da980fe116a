"""BlendedMVS in the layout of NeuS (bmvs_bear/, cameras_sphere.npz); units of each scene its own."""

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
    """Load one BlendedMVS scene; see `neus_layout.load`."""
    return neus_layout.load(
        "bmvs",
        scene,
        path,
        root,
        downscale,
        background,
        masks,
        radius,
        world_unit="unit",
        n_images=n_images,
        test_every=test_every,
        truth=truth,
        cache=cache,
    )
