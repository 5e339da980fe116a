"""Score a mesh by photographs alone: colours that training views give it are compared with held-out views.

No ground truth is needed, and no colour that the mesh has is used, so all meshes are judged alike, ours or foreign.
A point of the true surface has the colour that the next photograph shows, but for gloss. A point beside it takes its
colour from another place in each photograph, and so has the wrong one in the next.

Axes: H, W pixels of a view, N points. Colours are sRGB in [0, 1]. Points are in normalised units.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isosweep.config.settings import EvalSettings
from isosweep.data.image_store import ImageStore
from isosweep.evaluation import image_metrics, lpips
from isosweep.evaluation.image_metrics import Score
from isosweep.evaluation.scoreboard import Board
from isosweep.geometry import from_world
from isosweep.meshes import raycast, texture
from isosweep.meshes.topology import face_normals
from isosweep.rendering.views import spaced
from isosweep.runtime import progress
from isosweep.runtime.groups import groups
from isosweep.types import Cameras, Mesh, Scene

PREFIX = "geometry/render_"
BLENDED = 3
"""Photographs that a point's colour is blended of, at most."""
GREY = 0.5
"""The colour of points that no photograph sees."""
RAYS = 3
"""Rays along the side of a pixel: its silhouette is the share of them that hit. Odd, so that one is at the centre."""
_AT_ONCE = 1 << 20
"""Pixels that are coloured at once, which bounds the memory: about 250 bytes each."""


@dataclass(frozen=True)
class Baked:
    """One view of a mesh, with the colours that photographs of other views give it."""

    color: Float[np.ndarray, "h w 3"]
    """Of the point that is hit nearest to the pixel's centre; ``GREY`` where no photograph sees that, or nothing is."""
    cover: Float[np.ndarray, "h w"]
    """The share of the pixel's rays that hit."""

    def over(self, behind: float) -> Float[Tensor, "h w 3"]:
        """The picture over a grey background."""
        return _over(self.color, self.cover, behind)


def scored(
    board: Board,
    scene: Scene,
    settings: EvalSettings,
    mesh: Mesh | None,
    no_mesh: str,
    views: Sequence[int],
    network: lpips.LPIPS | None = None,
) -> dict[str, object]:
    """Put the scores of a mesh in ``settings.mesh_renders`` of the views on the board; returns the record's settings.

    geometry/render_psnr (dB), render_ssim, with ``network`` render_lpips_<net>, and with masks render_silhouette_iou:
    see `view_scores`, and docs/evaluation.md for the reasons.

    Args:
        mesh: in world units; None makes the scores None, for the reason ``no_mesh``.

    Raises:
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    if settings.mesh_renders == 0:
        return {}
    if mesh is None:
        names = [PREFIX + name for name in _names(network, scene.images.has_masks)]
        board.put((dict.fromkeys(names), dict.fromkeys(names, no_mesh)))
        return {}
    chosen = spaced(views, settings.mesh_renders)
    for view, baked in baked_views(mesh, scene, chosen):
        photo, alpha = scene.images.image(view)
        counted = _counted(scene, view)
        wanted = counted if alpha is None else counted * alpha.numpy()
        part = Baked(baked.color, baked.cover * counted)
        for name, score in view_scores(part, photo.numpy(), wanted, network, alpha is not None).items():
            board.add(PREFIX + name, scene.names[view], score)
    return {
        "mesh_renders": {
            "n_views": len(chosen),
            "held_out": not set(chosen) & set(scene.splits["train"]),
            "coloured_by": len(scene.splits["train"]),
            "blended": BLENDED,
            "rays": RAYS * RAYS,
            "pixels": "masks" if scene.images.has_masks else "all that see the scene's box",
        }
    }


def _names(network: lpips.LPIPS | None, masked: bool) -> list[str]:
    found = ["psnr", "ssim"]
    return found + ([] if network is None else [f"lpips_{network.net}"]) + ["silhouette_iou"] * masked


def view_scores(
    baked: Baked,
    photo: Float[np.ndarray, "h w 3"],
    wanted: Float[np.ndarray, "h w"],
    network: lpips.LPIPS | None = None,
    masked: bool = True,
) -> dict[str, Score]:
    """The scores of one view.

    With the mesh's colour c and cover h, the photograph's colour p and mask m, and means over the backgrounds
    b = 0 (black) and b = 1 (white):
      C_b = h c + (1 - h) b,  P_b = m p + (1 - m) b
      psnr = -10 log10(mean_b sum_pixels |C_b - P_b|^2 / (3 sum_pixels m)), at most ``image_metrics.PSNR_CAP``
      ssim, lpips = mean_b of that of C_b and P_b, over the pixels with h > 0 or m > 0
      silhouette_iou = sum min(h, m) / sum max(h, m)
    A pixel with mesh and no object, or the reverse, costs 1/4 + mean (c - 1/2)^2 at least, whatever its colour, and the
    sum is divided by the object's pixels alone. So no hole hides before a background of its own colour, and neither a
    larger picture nor a larger mesh thins the errors out.

    Args:
        wanted: the mask m; zero where pixels do not count.
        masked: whether the silhouette is scored.
    """
    area = float(wanted.sum())
    keys = _names(network, masked)
    if area == 0:
        return dict.fromkeys(keys, Score(None, "no pixel of the view shows the object"))
    pairs = [(baked.over(b), _over(photo, wanted, b)) for b in (0.0, 1.0)]
    error = sum(float((c - p).square().sum(dtype=torch.float64)) for c, p in pairs) / (6 * area)
    within = torch.from_numpy(((wanted > 0) | (baked.cover > 0)).astype(np.float32))
    psnr = -10 * math.log10(max(error, 10 ** (-image_metrics.PSNR_CAP / 10)))
    found = [Score(psnr), _mean([image_metrics.ssim(c, p, within) for c, p in pairs])]
    if network is not None:
        device = network.get_buffer("shift").device
        moved = [[x.to(device) for x in (c, p, within)] for c, p in pairs]
        found.append(_mean([lpips.measure(network, *three) for three in moved]))
    if masked:
        both, either = np.minimum(baked.cover, wanted), np.maximum(baked.cover, wanted)
        found.append(Score(float(both.sum() / either.sum())))
    return dict(zip(keys, found, strict=True))


def baked_views(mesh: Mesh, scene: Scene, views: Sequence[int]) -> Iterator[tuple[int, Baked]]:
    """The views of a mesh, one after another, coloured by the training views (`texture.from_photos`).

    A view that is one of them is coloured by the others. Where there are masks, only their foreground gives colours.

    Args:
        mesh: in world units.
    """
    cameras = raycast.world_cameras(scene.cameras, np.eye(4))
    inside = Mesh(from_world(mesh.vertices, scene.to_world), mesh.faces)
    caster, unit = raycast.Caster(inside), face_normals(inside)
    sizes_of = [int(cameras.hw[view].prod()) for view in views]
    for start, end in progress.through(list(groups(sizes_of, _AT_ONCE)), "rendering the mesh"):
        group = list(views[start:end])
        seen = [_surface(caster, unit, cameras, view) for view in group]
        sizes = [len(points) for points, _, _ in seen]
        colors, known = texture.from_photos(
            np.concatenate([points for points, _, _ in seen]),
            np.concatenate([normals for _, normals, _ in seen]),
            caster,
            scene,
            BLENDED,
            lambda view: _usable(scene, view),
            np.repeat(group, sizes),
        )
        colors[~known] = GREY
        for view, (_, _, cover), part in zip(
            group, seen, np.split(colors, np.cumsum(sizes)[:-1]), strict=True
        ):
            color = np.full((*cover.shape, 3), GREY, dtype=np.float32)
            color[cover > 0] = part
            yield view, Baked(color, cover)


def _surface(
    caster: raycast.Caster, unit: Float[np.ndarray, "f 3"], cameras: Cameras, view: int
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "h w"]]:
    """The points that a view sees, a pixel each, row by row; their normals on its side; and the cover of all pixels.

    Args:
        unit: the normals of the faces.
    """
    h, w = cameras.hw[view].tolist()
    hits, face, depth = np.zeros(h * w), np.full(h * w, -1), np.zeros(h * w)
    along = np.zeros((h * w, 3))
    for right, down in _offsets():
        K = cameras.K.clone()
        K[view, :2, 2] -= torch.tensor([right, down], dtype=K.dtype)
        eye, dirs = raycast.camera_rays(replace(cameras, K=K), view)
        met, distance = caster.first_hit(np.broadcast_to(eye, dirs.shape), dirs)
        hits += met >= 0
        new = np.flatnonzero((met >= 0) & (face < 0))
        face[new], depth[new], along[new] = met[new], distance[new], dirs[new]
    there = face >= 0
    normals = unit[face[there]]
    away = (normals * along[there]).sum(axis=1, keepdims=True) > 0
    points = cameras.c2w[view, :, 3].numpy() + along[there] * depth[there, None]
    return points, np.where(away, -normals, normals), (hits / RAYS**2).reshape(h, w)


def _offsets() -> list[tuple[float, float]]:
    """The rays of a pixel, relative to its centre, the nearest first."""
    steps = [(i + 0.5) / RAYS - 0.5 for i in range(RAYS)]
    return sorted(((x, y) for x in steps for y in steps), key=lambda at: at[0] ** 2 + at[1] ** 2)


def _usable(scene: Scene, view: int) -> Bool[Tensor, "h w"] | None:
    """The pixels of a photograph that give colours; None for all."""
    alpha = scene.images.image(view)[1]
    kept = scene.images.kept_image(view) if isinstance(scene.images, ImageStore) else None
    return kept if alpha is None else alpha >= 0.5 if kept is None else kept & (alpha >= 0.5)


def _counted(scene: Scene, view: int) -> Float[np.ndarray, "h w"]:
    """1 for pixels that count: those that are not to be ignored and, without masks, see the scene's box."""
    h, w = scene.cameras.hw[view].tolist()
    counted = np.ones((h, w))
    if isinstance(scene.images, ImageStore) and (kept := scene.images.kept_image(view)) is not None:
        counted *= kept.numpy()
    if not scene.images.has_masks:
        eye, dirs = raycast.camera_rays(raycast.world_cameras(scene.cameras, np.eye(4)), view)
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.sort([(side * scene.radius - eye) / dirs for side in (-1, 1)], axis=0)
        into, out = np.nanmax(ends[0], axis=1), np.nanmin(ends[1], axis=1)
        counted *= (out > np.maximum(into, 0)).reshape(h, w)
    return counted


def _over(
    color: Float[np.ndarray, "h w 3"], cover: Float[np.ndarray, "h w"], behind: float
) -> Float[Tensor, "h w 3"]:
    share = cover[..., None]
    return torch.from_numpy((color * share + behind * (1 - share)).astype(np.float32))


def _mean(scores: Sequence[Score]) -> Score:
    values = [score.value for score in scores if score.value is not None]
    return Score(sum(values) / len(values)) if len(values) == len(scores) else scores[0]
