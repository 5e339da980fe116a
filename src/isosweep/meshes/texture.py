"""The texture of a mesh: from the photographs that see a texel best, or from the model's colours (``export.texture``).

Pixels of photographs and colours of models are sRGB, as in the files, and so is the texture. Where photographs are
interpolated or blended, it is their light that is averaged: they are decoded first, and the mean is encoded again.

Axes: T texels, H, W pixels of a view. Points are in normalised units.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isosweep.config.settings import ExportSettings
from isosweep.errors import InputError
from isosweep.meshes import atlas as charts
from isosweep.meshes.atlas import Atlas, Texels
from isosweep.meshes.extract import Surface, to_world
from isosweep.meshes.raycast import Caster, camera_rays, image_points, world_cameras
from isosweep.meshes.topology import vertex_normals
from isosweep.runtime import progress
from isosweep.types import Cameras, Knobs, Mesh, Scene

log = logging.getLogger("isosweep")

FACING = 0.1
"""Least cosine between a surface's normal and the direction to a camera that sees it: 84 degrees."""
FORMATS = ("obj", "glb")
"""Formats of `MESH_FORMATS` that have a texture."""
AT_EDGES = 0.01
"""Factor on the weight of a photograph whose pixels near a point show another surface as well, as behind a rim: such
pixels mix the two colours, so they are taken where no other photograph sees the point."""
BESIDE = 2
"""How far from a point's pixel another surface counts, pixels."""
_AT_ONCE = 1 << 21
"""Texels that are compared with all photographs at once, which bounds the memory."""

Kept = Callable[[int], Bool[Tensor, "h w"] | None]
"""View -> its pixels that are not to be ignored; None where all are kept."""


@dataclass(frozen=True)
class Textured:
    """A mesh in world units with its texture."""

    mesh: Mesh
    atlas: Atlas
    image: Float[np.ndarray, "s s 3"]
    """sRGB in [0, 1]; row 0 is the upper edge."""


def require(formats: Sequence[str]) -> None:
    """Check before training that a texture can be made and has a file that it is written to.

    Raises:
        InputError: xatlas is not installed, or none of the formats has a texture.
    """
    charts.require()
    if not set(formats) & set(FORMATS):
        raise InputError(
            f"export.texture is written into obj and glb files, and export.formats is {list(formats)}: add obj or glb "
            "to it, or set export.texture=null"
        )


def textured(
    mesh: Mesh, model: Surface, scene: Scene, knobs: Knobs, settings: ExportSettings, kept: Kept
) -> Textured:
    """The mesh, in world units, unwrapped and with a texture of ``settings.texture`` pixels along each side.

    With ``texture_from=photos`` texels that no photograph sees have the model's colour.

    Raises:
        InputError: as `atlas.unwrap`.
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    assert settings.texture is not None
    atlas = charts.unwrap(mesh, settings.texture)
    texels = charts.texels(atlas, settings.texture)
    inside = to_world(mesh, np.linalg.inv(scene.to_world))
    points = texels.of(mesh, inside.vertices)
    normals = unit(texels.of(mesh, vertex_normals(inside)))
    colors = np.zeros((len(points), 3), dtype=np.float32)
    seen = np.zeros(len(points), dtype=bool)
    if settings.texture_from == "photos":
        colors, seen = from_photos(points, normals, Caster(inside), scene, settings.texture_views, kept)
        log.info("photographs see %.1f%% of the texels; the model colours the rest", 100 * seen.mean())
    left = np.flatnonzero(~seen)
    colors[left] = from_field(points[left], normals[left], model, knobs, settings.chunk)
    return Textured(mesh, atlas, painted(colors, texels, settings.texture))


def painted(colors: Float[np.ndarray, "t 3"], texels: Texels, size: int) -> Float[np.ndarray, "s s 3"]:
    """The texture with colours at its texels, spread beyond the charts."""
    image = np.zeros((size, size, 3), dtype=np.float32)
    image[texels.row, texels.col] = colors
    return charts.spread(image, texels)


def from_field(
    points: Float[np.ndarray, "t 3"],
    normals: Float[np.ndarray, "t 3"],
    model: Surface,
    knobs: Knobs,
    chunk: int,
) -> Float[np.ndarray, "t 3"]:
    """The model's colours [T, 3] of points seen along -normal, in [0, 1]."""
    colors = np.zeros((len(points), 3), dtype=np.float32)
    for start in progress.through(range(0, len(points), chunk), "colouring the texture"):
        part = slice(start, start + chunk)
        at, along = (
            torch.as_tensor(x[part], dtype=torch.float32, device=knobs.device) for x in (points, -normals)
        )
        with torch.no_grad():
            colors[part] = model.color(at, along, knobs).float().clamp(0, 1).cpu().numpy()
    return colors


def from_photos(
    points: Float[np.ndarray, "t 3"],
    normals: Float[np.ndarray, "t 3"],
    caster: Caster,
    scene: Scene,
    most: int,
    kept: Kept,
    never: Int[np.ndarray, " t"] | None = None,
) -> tuple[Float[np.ndarray, "t 3"], Bool[np.ndarray, " t"]]:
    """Colours [T, 3] of points on a mesh in the training views, and whether any of them sees each point.

    A photograph sees a point that lies in its frame, on pixels of the object (where masks cut it out) that are not to
    be ignored, that faces the camera, and that the mesh does not hide. Of these photographs the ``most`` with the
    largest weight (cos a)^2 (f / d)^2 are blended by it, with the angle a between normal and camera, the focal length f
    and the distance d: the pixels that a unit of area covers in the photograph, once more times the cosine. At the edge
    of a surface in the photograph it is ``AT_EDGES`` of that. The weight of the best one that is left out is subtracted
    from theirs (Buehler et al. 2001, unstructured lumigraph rendering, section 4), so no step shows where another
    photograph becomes the better one.

    Args:
        caster: of the mesh, in normalised units.
        never: for each point the view that gives it no colour, because the colours are judged by that view.
    """
    cameras = world_cameras(scene.cameras, np.eye(4))
    best = np.zeros((len(points), most + 1), dtype=np.float32)
    light = np.zeros((len(points), most + 1, 3), dtype=np.float32)
    views = scene.splits["train"]
    parts = [slice(i, i + _AT_ONCE) for i in range(0, len(points), _AT_ONCE)]
    for view in progress.through(views, "taking the texture from photographs"):
        photo, usable = _photo(scene, view, kept)
        depths = _depths_around(caster, cameras, view)
        for part in parts:
            weight, col, row = _weights(cameras, view, points[part], normals[part], depths)
            if never is not None:
                weight[never[part] == view] = 0
            found = np.flatnonzero(weight > best[part].min(axis=1))
            found = found[_all_usable(usable, col[found], row[found])]
            at, eye = points[part][found], cameras.c2w[view, :, 3].numpy()
            seen = found[~caster.blocked(eye, at, 1e-4 * caster.diagonal)]
            worst = part.start + seen, best[part][seen].argmin(axis=1)
            best[worst] = weight[seen]
            light[worst] = _bilinear(photo, col[seen], row[seen])
    shares = _shares(best)
    total = np.zeros((len(points), 3), dtype=np.float32)
    for k in range(most + 1):
        total += shares[:, [k]] * light[:, k]
    return encoded(total), best.max(axis=1) > 0


def _shares(weights: Float[np.ndarray, "t k"]) -> Float[np.ndarray, "t k"]:
    """The shares of photographs that are blended: weights less the smallest, which has none; zero if all are zero.

    A thousandth of each weight is kept, so that equal weights have equal shares.
    """
    left_out = weights.argmin(axis=1)
    shares = weights - weights.min(axis=1, keepdims=True) + 1e-3 * weights
    shares[np.arange(len(shares)), left_out] = 0
    return shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-30)


def _photo(scene: Scene, view: int, kept: Kept) -> tuple[Float[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """The light of a photograph's pixels, and which of them may be used."""
    rgb, mask = scene.images.image(view)
    keep = kept(view)
    usable = np.ones(rgb.shape[:2], dtype=bool) if keep is None else keep.numpy().copy()
    if scene.composite and mask is not None:
        usable &= mask.numpy() >= 0.5
    return decoded(rgb.numpy()), usable


def _depths_around(
    caster: Caster, cameras: Cameras, view: int
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The least and the largest distance at which the rays of pixels up to ``BESIDE`` away meet the mesh; inf: none."""
    from scipy.ndimage import maximum_filter, minimum_filter

    eye, dirs = camera_rays(cameras, view)
    depth = caster.first_hit(np.broadcast_to(eye, dirs.shape), dirs)[1].reshape(cameras.hw[view].tolist())
    return minimum_filter(depth, 2 * BESIDE + 1), maximum_filter(depth, 2 * BESIDE + 1)


def _weights(
    cameras: Cameras,
    view: int,
    points: Float[np.ndarray, "t 3"],
    normals: Float[np.ndarray, "t 3"],
    depths: tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]],
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """The weight [T] of a view at points, 0 where they are out of its frame or face away; their column and row [T].

    Args:
        depths: as `_depths_around` gives them. A plane through a point differs by tan(a) d / f from one pixel to the
            next, so a surface counts as another where it is more than twice that away.
    """
    h, w = cameras.hw[view].tolist()
    col, row, ahead = image_points(cameras, view, points)
    # centres of pixels, so that a point is between four of them
    framed = ahead & (col >= 0) & (col <= w - 1) & (row >= 0) & (row <= h - 1)
    to_eye = cameras.c2w[view, :, 3].numpy() - points
    squared = np.maximum(np.square(to_eye).sum(axis=1), 1e-30)
    facing = (normals * to_eye).sum(axis=1) / np.sqrt(squared)
    focal = float(cameras.K[view, 0, 0] * cameras.K[view, 1, 1])
    weight = np.where(framed & (facing > FACING), facing**2 * focal / squared, 0.0)
    seen = np.flatnonzero(weight)
    cosine, distance = facing[seen], np.sqrt(squared[seen])
    reach = (
        2
        * (BESIDE + 1)
        * distance
        / np.sqrt(focal)
        * np.maximum(np.sqrt(np.maximum(1 - cosine**2, 0)) / cosine, 1.0)
    )
    pixel = np.rint(row[seen]).astype(np.int64), np.rint(col[seen]).astype(np.int64)
    at_edge = (depths[0][pixel] < distance - reach) | (depths[1][pixel] > distance + reach)
    weight[seen[at_edge]] *= AT_EDGES
    return weight.astype(np.float32), col, row


def _corners(
    shape: Sequence[int], col: Float[np.ndarray, " t"], row: Float[np.ndarray, " t"]
) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " t"]]:
    """The upper left of the four pixels around each place."""
    left = np.clip(np.floor(col).astype(np.int64), 0, max(shape[1] - 2, 0))
    upper = np.clip(np.floor(row).astype(np.int64), 0, max(shape[0] - 2, 0))
    return left, upper


def _all_usable(
    usable: Bool[np.ndarray, "h w"], col: Float[np.ndarray, " t"], row: Float[np.ndarray, " t"]
) -> Bool[np.ndarray, " t"]:
    left, upper = _corners(usable.shape, col, row)
    right, lower = np.minimum(left + 1, usable.shape[1] - 1), np.minimum(upper + 1, usable.shape[0] - 1)
    return usable[upper, left] & usable[upper, right] & usable[lower, left] & usable[lower, right]


def _bilinear(
    photo: Float[np.ndarray, "h w 3"], col: Float[np.ndarray, " t"], row: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "t 3"]:
    left, upper = _corners(photo.shape, col, row)
    right, lower = np.minimum(left + 1, photo.shape[1] - 1), np.minimum(upper + 1, photo.shape[0] - 1)
    x, y = (col - left)[:, None].astype(np.float32), (row - upper)[:, None].astype(np.float32)
    above = photo[upper, left] * (1 - x) + photo[upper, right] * x
    below = photo[lower, left] * (1 - x) + photo[lower, right] * x
    return above * (1 - y) + below * y


def decoded(srgb: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Linear light of sRGB values s: s / 12.92 up to 0.04045, else ((s + 0.055) / 1.055)^2.4 (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def encoded(light: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """The inverse of `decoded`."""
    safe = np.maximum(light, 0.0031308)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * safe ** (1 / 2.4) - 0.055)


def unit(vectors: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 3"]:
    """The vectors with length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
