"""What a contact sheet shows, from a preparation or from a scene of any data set, in normalised units."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from isosweep.geometry import from_world
from isosweep.prepare.reconstruction import Solved
from isosweep.prepare.region import Region
from isosweep.prepare.writers import mask_name, normalised
from isosweep.types import Scene

MOST_POINTS = 20_000
MASK_SIDE = 256
Picture = UInt8[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class Shown:
    """Cameras, points and images; the sphere about the origin is the one a model reconstructs in."""

    title: str
    solved: Solved
    """Normalised units."""
    radius: float
    box: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]
    points_are: str
    """What the points are, in words."""
    picture: Callable[[int, int], Picture]
    """View and longer side in pixels -> thumbnail."""
    mask: Callable[[int], Mask | None]
    """View -> foreground at a small size."""
    splits: dict[str, int]


def prepared_view(out: Path, solved: Solved, region: Region, masked: bool) -> Shown:
    """A preparation's result."""
    matrix = region.to_world

    def mask(view: int) -> Mask | None:
        return small_mask(out / "masks" / mask_name(solved.names[view])) if masked else None

    def picture(view: int, side: int) -> Picture:
        with Image.open(out / "images" / solved.names[view]) as image:
            image = image.convert("RGB")
            image.thumbnail((side, side))
            return np.asarray(image)

    box = from_world(np.stack([region.low, region.high]), matrix)
    return Shown(
        title=out.resolve().name,
        solved=_moved(solved, normalised(solved.c2w, matrix), from_world(solved.xyz, matrix)),
        radius=1.0,
        box=(box[0], box[1]),
        points_are=f"{len(solved.xyz)} points of the reconstruction",
        picture=picture,
        mask=mask,
        splits={},
    )


def scene_view(scene: Scene) -> Shown:
    """A loaded scene. Points: its SfM points, else its reference points, else its true surface."""
    points, points_are = _points(scene)
    if len(points) > MOST_POINTS:
        points = points[np.random.default_rng(0).choice(len(points), MOST_POINTS, replace=False)]
    K = scene.cameras.K.double().cpu().numpy().copy()
    K[:, :2, 2] += 0.5 - scene.cameras.pixel_centre
    n = len(scene.cameras)
    solved = Solved(
        names=scene.names,
        hw=scene.cameras.hw.cpu().numpy(),
        K=K,
        c2w=scene.cameras.c2w.double().cpu().numpy(),
        camera=np.arange(n),
        xyz=points,
        rgb=np.full((len(points), 3), 90, np.uint8),
        error=np.zeros(len(points)),
        seen_view=np.zeros(0, np.int64),
        seen_point=np.zeros(0, np.int64),
        seen_xy=np.zeros((0, 2)),
    )

    def picture(view: int, side: int) -> Picture:
        rgb, mask = scene.images.image(view)
        if mask is not None and scene.images.is_alpha:
            rgb = rgb * mask[..., None] + scene.background.cpu() * (1 - mask[..., None])
        image = Image.fromarray((rgb.numpy().clip(0, 1) * 255).round().astype(np.uint8))
        image.thumbnail((side, side))
        return np.asarray(image)

    def mask(view: int) -> Mask | None:
        found = scene.images.image(view)[1]
        if found is None:
            return None
        return _shrunk(Image.fromarray((found.numpy() * 255).astype(np.uint8)))

    corner = np.full(3, scene.radius)
    return Shown(
        title=f"{scene.dataset}/{scene.name}",
        solved=solved,
        radius=scene.radius,
        box=(-corner, corner),
        points_are=points_are,
        picture=picture,
        mask=mask,
        splits={name: len(views) for name, views in scene.splits.items()},
    )


def _points(scene: Scene) -> tuple[np.ndarray, str]:
    if scene.points is not None:
        return scene.points.double().cpu().numpy(), f"{len(scene.points)} points of the reconstruction"
    file = scene.reference_points or scene.truth
    if file is None:
        return np.zeros((0, 3)), "no points"
    import trimesh

    vertices = np.asarray(trimesh.load(file, process=False).vertices, np.float64)  # pyright: ignore[reportAttributeAccessIssue] - meshes and clouds have them
    kind = "reference points" if scene.reference_points else "vertices of the true surface"
    return from_world(vertices, scene.to_world), f"{len(vertices)} {kind} ({file.name})"


def _moved(solved: Solved, c2w: np.ndarray, xyz: np.ndarray) -> Solved:
    return Solved(**{**{f: getattr(solved, f) for f in solved.__dataclass_fields__}, "c2w": c2w, "xyz": xyz})


def small_mask(path: Path) -> Mask:
    """A mask file at the size at which hulls are carved."""
    with Image.open(path) as image:
        return _shrunk(image.convert("L"))


def _shrunk(image: Image.Image) -> Mask:
    image.thumbnail((MASK_SIDE, MASK_SIDE), Image.Resampling.BOX)
    return np.asarray(image) > 127


def small_masks(names: tuple[str, ...], mask: Callable[[int], Mask | None], most: int) -> dict[int, Mask]:
    """Masks of evenly spaced views, at most so many; those without one are left out."""
    views = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(int)).tolist()
    found = {view: mask(view) for view in views}
    return {view: m for view, m in found.items() if m is not None and not m.all()}
