"""The content of a contact sheet, from a preparation or from a loaded scene of any data set; normalised units."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from isosweep.data.checks import fit_lines
from isosweep.data.truth import parts
from isosweep.geometry import from_world
from isosweep.prepare.image_io import read_grey, read_rgb
from isosweep.prepare.reconstruction import Reconstruction
from isosweep.prepare.region import Region
from isosweep.prepare.writers import mask_name, normalised
from isosweep.runtime.mesh_file import require_mesh_file
from isosweep.types import Cameras, Scene

MOST_POINTS = 20_000
"""Points of a loaded scene beyond this number are thinned out at random."""
MASK_SIDE = 256
"""Masks are reduced to at most this many pixels a side before the hull is carved."""
Picture = UInt8[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class SheetContent:
    """Cameras, points and images. A model reconstructs inside the sphere around the origin."""

    title: str
    recon: Reconstruction
    """Cameras and points in normalised units."""
    radius: float
    """Of the sphere."""
    box: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]
    """Smallest and largest coordinates of the region's box."""
    points_are: str
    """What the points are, in words."""
    picture: Callable[[int, int], Picture]
    """(view, longer side in pixels) -> thumbnail."""
    mask: Callable[[int], Mask | None]
    """View -> foreground at a small size; None if the view has no mask."""
    splits: dict[str, int]
    """Name of a split -> number of its views."""


def prepared_view(out: Path, recon: Reconstruction, region: Region, masked: bool) -> SheetContent:
    """The content for a preparation that has finished its region.

    Args:
        out: the prepared folder, with images/ and masks/.
        recon: in world units.
        masked: whether masks/ has the masks.
    """
    matrix = region.to_world

    def mask(view: int) -> Mask | None:
        return small_mask(out / "masks" / mask_name(recon.names[view])) if masked else None

    def picture(view: int, side: int) -> Picture:
        image = read_rgb(out / "images" / recon.names[view])
        image.thumbnail((side, side))
        return np.asarray(image)

    box = from_world(np.stack([region.low, region.high]), matrix)
    return SheetContent(
        title=out.resolve().name,
        recon=replace(recon, c2w=normalised(recon.c2w, matrix), xyz=from_world(recon.xyz, matrix)),
        radius=1.0,
        box=(box[0], box[1]),
        points_are=f"{len(recon.xyz)} points of the reconstruction",
        picture=picture,
        mask=mask,
        splits={},
    )


def fit_warnings(shown: SheetContent) -> list[str]:
    """What is odd about a preparation's box and cameras, as a run on it would say."""
    recon = shown.recon
    cameras = Cameras(*(torch.from_numpy(x) for x in (recon.c2w, recon.K, recon.hw)), pixel_centre=0.5)
    return [
        f"WARNING: {line}"
        for line in fit_lines(shown.title, cameras, torch.from_numpy(recon.xyz), shown.radius)
    ]


def scene_view(scene: Scene) -> SheetContent:
    """The content for a loaded scene. Its points are the SfM points, else reference points, else the true surface."""
    points, points_are = _points(scene)
    if len(points) > MOST_POINTS:
        points = points[np.random.default_rng(0).choice(len(points), MOST_POINTS, replace=False)]
    K = scene.cameras.K.double().cpu().numpy().copy()
    K[:, :2, 2] += 0.5 - scene.cameras.pixel_centre
    n = len(scene.cameras)
    recon = Reconstruction(
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
        return _small(Image.fromarray((found.numpy() * 255).astype(np.uint8)))

    corner = np.full(3, scene.radius)
    return SheetContent(
        title=f"{scene.dataset}/{scene.name}",
        recon=recon,
        radius=scene.radius,
        box=(-corner, corner),
        points_are=points_are,
        picture=picture,
        mask=mask,
        splits={name: len(views) for name, views in scene.splits.items()},
    )


def _points(scene: Scene) -> tuple[np.ndarray, str]:
    """Points [P, 3] in normalised units, and what they are."""
    if scene.points is not None:
        return scene.points.double().cpu().numpy(), f"{len(scene.points)} points of the reconstruction"
    file = scene.reference_points or scene.truth
    if file is None:
        return np.zeros((0, 3)), "no points"
    import trimesh

    files = [file] if file.is_file() else parts(file)
    for one in files:
        require_mesh_file(one)
    loaded = [trimesh.load(f, file_type=f.suffix[1:].lower(), process=False) for f in files]
    vertices = np.concatenate([np.asarray(one.vertices, np.float64) for one in loaded])  # pyright: ignore[reportAttributeAccessIssue] - meshes and clouds have them
    kind = "reference points" if scene.reference_points else "vertices of the true surface"
    return from_world(vertices, scene.to_world), f"{len(vertices)} {kind} ({file.name})"


def small_mask(path: Path) -> Mask:
    """Read a mask file and reduce it to at most 256 pixels a side; True on the foreground."""
    return _small(read_grey(path))


def _small(image: Image.Image) -> Mask:
    image.thumbnail((MASK_SIDE, MASK_SIDE), Image.Resampling.BOX)
    return np.asarray(image) > 127


def small_masks(names: tuple[str, ...], mask: Callable[[int], Mask | None], most: int) -> dict[int, Mask]:
    """The masks of at most ``most`` evenly spaced views, for the visual hull.

    Views without a mask, and views that are foreground everywhere, are left out: they carve nothing.
    """
    views = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(int)).tolist()
    found = {view: mask(view) for view in views}
    return {view: m for view, m in found.items() if m is not None and not m.all()}
