"""The contact sheet: one page that shows the cameras around the points, the sphere, thumbnails and masks.

Axes: V views, P points, G hull cells. Everything is in normalised units, with the sphere around the origin.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from isosweep.data.normalization import look_at_point
from isosweep.prepare.hull import Hull, share_outside_sphere, visual_hull
from isosweep.prepare.reconstruction import Reconstruction
from isosweep.prepare.region import COMMON_SHARE, share_in_image
from isosweep.prepare.views import SheetContent, small_masks
from isosweep.runtime.files import atomic_write_bytes

SHEET = "contact.png"
THUMBNAILS = 24
COLUMNS = 6
THUMBNAIL_SIDE = 320
"""Longer side of a thumbnail in pixels."""
HULL_VIEWS = 60
"""The visual hull is carved by the masks of at most this many views."""
THUMBNAIL_POINTS = 250
PLOT_POINTS = 6000
PLOT_CELLS = 3000
"""About so many points and hull cells are drawn."""
SPHERE_COLOR, LOOK_AT_COLOR, CAMERA_COLOR = "#d98c00", "#d6005c", "#1f5fbf"


def draw(shown: SheetContent, lines: list[str], path: Path) -> list[str]:
    """Measure the scene and write the contact sheet as a png.

    Args:
        lines: text at the top of the page.

    Returns:
        Lines about the cameras, the points and the visual hull, which the page shows as well.
    """
    from matplotlib.figure import Figure

    recon = shown.recon
    masks = small_masks(recon.names, shown.mask, HULL_VIEWS)
    hull = visual_hull(recon, masks, np.zeros(3), shown.radius) if masks else None
    look_at = look_at_point(recon.c2w)
    facts = [*measure(shown, look_at), *_hull_facts(shown, hull, masks)]
    views = np.unique(np.linspace(0, len(recon) - 1, min(THUMBNAILS, len(recon))).astype(int)).tolist()
    rows = -(-len(views) // COLUMNS)
    text = [*lines, *facts, *_legend(shown, hull)]
    figure = Figure(figsize=(16, 6.2 + 0.17 * len(text) + 2.7 * rows), layout="constrained")
    heights = [0.3 + 0.17 * len(text), 5.9, 2.7 * rows]
    top, middle, bottom = figure.subfigures(3, 1, squeeze=False, height_ratios=heights)[:, 0]
    top.suptitle(shown.title, x=0.01, ha="left", fontsize=13, weight="bold")
    top.text(0.01, 0.0, "\n".join(text), va="bottom", fontsize=9)
    _plots(middle, _drawing(shown, hull, look_at))
    grid = bottom.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, view in zip(grid, views, strict=False):
        _thumbnail(axes, shown, view, look_at)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, buffer.getvalue())
    return facts


def measure(shown: SheetContent, look_at: Float[np.ndarray, "3"]) -> list[str]:
    """Lines about where cameras, points and the look-at point lie relative to the sphere, with warnings."""
    recon, r = shown.recon, shown.radius
    distance = np.linalg.norm(recon.c2w[:, :, 3], axis=1) / r
    with_centre = int(sum(recon.in_image(v, np.zeros((1, 3)))[0] for v in range(len(recon))))
    facts = [
        f"{len(recon)} cameras, {distance.min():.2f} to {distance.max():.2f} radii from the centre (median "
        f"{np.median(distance):.2f}); {with_centre} of them have the centre in the picture"
    ]
    if with_centre < 0.5 * len(recon):
        facts.append(
            "WARNING: most cameras do not have the sphere's centre in the picture: does the normalisation belong to "
            "other data?"
        )
    facts.append(f"look-at point {np.linalg.norm(look_at) / r:.2f} radii from the centre")
    if len(recon.xyz):
        share = share_in_image(recon, recon.xyz)
        near = np.linalg.norm(recon.xyz, axis=1) <= r
        common = share >= COMMON_SHARE
        line = f"{near.mean():.0%} of the points are in the sphere"
        if common.sum() >= 10:
            line += f", {near[common].mean():.0%} of those that most cameras have in the picture"
        facts.append(line)
    return facts


def _hull_facts(shown: SheetContent, hull: Hull | None, masks: dict[int, np.ndarray]) -> list[str]:
    if hull is None:
        return ["no masks, so no visual hull: only the points tell how much of the object is in the sphere"]
    if hull.empty:
        return [
            "WARNING: the visual hull is empty: masks and cameras contradict each other (wrong masks, wrong poses, "
            "or an object far outside the sphere)"
        ]
    facts = [
        f"visual hull: {hull.in_sphere:.1%} of it in the sphere, {hull.in_box:.1%} in the box, farthest cell at "
        f"{hull.reach:.2f} radii" + (" or more: the cameras do not bound it" if hull.clipped else "")
    ]
    if hull.covered < 0.5:
        facts.append(
            f"only {hull.covered:.0%} of the sphere is in the picture of half of the cameras: the hull is uncertain"
        )
    outside = share_outside_sphere(shown.recon, masks, shown.radius)
    worst = max(outside, key=lambda v: outside[v])
    mean = float(np.mean(list(outside.values())))
    facts.append(
        f"{1 - mean:.1%} of the foreground pixels look into the sphere (worst view {shown.recon.names[worst]}: "
        f"{1 - outside[worst]:.1%})"
    )
    # the hull of few views has spikes where no camera looks; they alone are no reason to warn
    if mean > 0.01 or (hull.in_sphere < 0.9 and not hull.clipped):
        facts.append(
            "WARNING: a part of the object lies outside the sphere, where no surface is reconstructed: take a larger "
            "sphere (prepare.py --margin or --sphere, another scale_mat, dataset.scale) or masks that leave less"
        )
    return facts


def _legend(shown: SheetContent, hull: Hull | None) -> list[str]:
    parts = ["cameras blue", "sphere and box orange", "look-at point magenta", shown.points_are]
    parts += ["hull grey"] if hull is not None and not hull.empty else []
    splits = ", ".join(f"{n} {count}" for n, count in shown.splits.items())
    return ["; ".join(parts) + (f"; splits {splits}" if splits else "")]


def display_axes(c2w: Float[np.ndarray, "v 3 4"]) -> Float[np.ndarray, "3 3"]:
    """Rows: unit vectors right, front and up, where up is the mean of the cameras' up and front points to them."""
    up = -c2w[:, :, 1].mean(0)
    up = up / np.linalg.norm(up) if np.linalg.norm(up) > 0.1 else np.array([0.0, 0.0, 1.0])
    to_cameras = c2w[:, :, 3].mean(0)
    front = to_cameras - (to_cameras @ up) * up
    if np.linalg.norm(front) < 1e-6:
        front = np.cross(up, np.eye(3)[int(np.argmin(np.abs(up)))])
    front = front / np.linalg.norm(front)
    return np.stack([np.cross(front, up), front, up])


@dataclass(frozen=True)
class _Drawing:
    """What the three plots show. The last axis of every array is right, front, up, see `display_axes`."""

    radius: float
    points: np.ndarray
    """[P, 3]"""
    rgb: np.ndarray
    """Colours of the points [P, 3] in [0, 1]."""
    hull: np.ndarray
    """Centres of the hull's cells [G, 3]."""
    centres: np.ndarray
    """Camera centres [V, 3]."""
    corners: np.ndarray
    """Corners of the image planes [V, 4, 3], a short way in front of the cameras."""
    box: np.ndarray
    """The edges of the region's box [12, 2, 3]."""
    look_at: np.ndarray
    """[3]"""


def _drawing(shown: SheetContent, hull: Hull | None, look_at: np.ndarray) -> _Drawing:
    recon, r = shown.recon, shown.radius
    rotation = display_axes(recon.c2w).T
    points, rgb = _thinned(recon, r)
    cells = np.zeros((0, 3)) if hull is None else hull.centres[:: max(1, len(hull.centres) // PLOT_CELLS)]
    low, high = shown.box
    corners = np.array(
        [[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    )
    # two corners share an edge if their numbers differ in one bit
    edges = [(i, j) for i in range(8) for j in range(i + 1, 8) if (i ^ j) in (1, 2, 4)]
    return _Drawing(
        radius=r,
        points=points @ rotation,
        rgb=rgb,
        hull=cells @ rotation,
        centres=recon.c2w[:, :, 3] @ rotation,
        corners=_image_corners(recon, r) @ rotation,
        box=corners[edges] @ rotation,
        look_at=look_at @ rotation,
    )


def _plots(figure: Any, drawing: _Drawing) -> None:
    """A perspective view, one from above and one from the side."""
    perspective = figure.add_subplot(1, 3, 1, projection="3d")
    for position, vertical, name in ((2, 1, "from above"), (3, 2, "from the side")):
        axes = figure.add_subplot(1, 3, position)
        axes.set_title(name, fontsize=9)
        axes.set_aspect("equal")
        _plot_flat(axes, drawing, [0, vertical])
    _plot_perspective(perspective, drawing)


def _plot_perspective(axes: Any, drawing: _Drawing) -> None:
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    d, r = drawing, drawing.radius
    axes.scatter(*d.points.T, s=1, c=d.rgb, depthshade=False)
    to_corners = np.stack([np.repeat(d.centres[:, None], 4, 1), d.corners], 2).reshape(-1, 2, 3)
    rims = np.stack([d.corners, np.roll(d.corners, -1, axis=1)], 2).reshape(-1, 2, 3)
    axes.add_collection3d(
        Line3DCollection(np.concatenate([to_corners, rims]), colors=CAMERA_COLOR, linewidths=0.6)
    )
    axes.add_collection3d(Line3DCollection(d.box, colors=SPHERE_COLOR, linewidths=0.8))
    angle = np.linspace(0, 2 * np.pi, 60)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        circle = np.zeros((60, 3))
        circle[:, a], circle[:, b] = r * np.cos(angle), r * np.sin(angle)
        axes.plot(*circle.T, color=SPHERE_COLOR, linewidth=0.8)
    axes.scatter(*d.look_at[:, None], color=LOOK_AT_COLOR, s=25, marker="x")
    extent = np.concatenate([d.centres, [[r] * 3, [-r] * 3]])
    low, high = extent.min(0), extent.max(0)
    middle, half = (high + low) / 2, float((high - low).max()) / 2 * 1.05
    axes.set(**{f"{axis}lim": (m - half, m + half) for axis, m in zip("xyz", middle, strict=True)})
    axes.set_box_aspect((1, 1, 1))
    axes.view_init(elev=25, azim=-50)
    axes.tick_params(labelsize=6)


def _plot_flat(axes: Any, drawing: _Drawing, columns: list[int]) -> None:
    """An orthographic view: horizontal and vertical axis are these two columns of the drawing."""
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Circle

    d, r = drawing, drawing.radius
    centres = d.centres[:, columns]
    if len(d.hull):
        axes.scatter(*d.hull[:, columns].T, s=4, color="#d5d5d5", linewidths=0)
    axes.scatter(*d.points[:, columns].T, s=1.5, c=d.rgb, linewidths=0)
    axes.add_collection(LineCollection(list(d.box[:, :, columns]), colors=SPHERE_COLOR, linewidths=0.7))
    axes.add_patch(Circle((0, 0), r, fill=False, color=SPHERE_COLOR, linewidth=1.2))
    directions = np.stack([centres, d.corners.mean(1)[:, columns]], 1)
    axes.add_collection(LineCollection(list(directions), colors=CAMERA_COLOR, linewidths=0.8))
    axes.scatter(*centres.T, s=10, color=CAMERA_COLOR)
    axes.scatter(*d.look_at[columns, None], color=LOOK_AT_COLOR, marker="x", s=40, zorder=5)
    extent = np.concatenate([centres, [[r, r], [-r, -r]]])
    low, high = extent.min(0), extent.max(0)
    pad = 0.06 * float((high - low).max())
    axes.set(xlim=(low[0] - pad, high[0] + pad), ylim=(low[1] - pad, high[1] + pad))
    axes.tick_params(labelsize=7)


def _image_corners(recon: Reconstruction, r: float) -> np.ndarray:
    """Corners of the images [V, 4, 3], at a depth that makes the cameras visible in a plot of the scene."""
    centres = recon.c2w[:, :, 3]
    depth = 0.15 * max(float(np.median(np.linalg.norm(centres, axis=1))), r)
    h, w = recon.hw.T
    zero, one = np.zeros_like(w), np.ones_like(w)
    pixels = np.stack(
        [np.stack(corner, -1) for corner in ((zero, zero, one), (w, zero, one), (w, h, one), (zero, h, one))],
        1,
    )
    rays = pixels @ np.linalg.inv(recon.K).transpose(0, 2, 1)
    return depth * rays @ recon.c2w[:, :, :3].transpose(0, 2, 1) + centres[:, None]


def _thinned(recon: Reconstruction, r: float) -> tuple[np.ndarray, np.ndarray]:
    """Some thousand points within 4 radii [P, 3], and their colours in [0, 1]."""
    near = np.flatnonzero(np.linalg.norm(recon.xyz, axis=1) < 4 * r)
    near = near[:: max(1, len(near) // PLOT_POINTS)]
    return recon.xyz[near], recon.rgb[near] / 255


def _thumbnail(axes: Any, shown: SheetContent, view: int, look_at: np.ndarray) -> None:
    """Draw an image with its mask, and the points, the look-at point and the sphere as this camera sees them."""
    recon = shown.recon
    picture = shown.picture(view, THUMBNAIL_SIDE).astype(np.float32) / 255
    h, w = picture.shape[:2]
    scale = np.array([w / recon.hw[view, 1], h / recon.hw[view, 0]])
    mask = shown.mask(view)
    if mask is not None:
        resized = np.asarray(Image.fromarray(mask).resize((w, h)), np.float32)
        picture = picture * (0.35 + 0.65 * resized[..., None])
        if mask.any() and not mask.all():
            axes.contour(resized, [0.5], colors="#00c000", linewidths=0.8)
    axes.imshow(picture.clip(0, 1))
    if len(recon.xyz):
        points = recon.xyz[:: max(1, len(recon.xyz) // THUMBNAIL_POINTS)]
        points = points[(np.linalg.norm(points, axis=1) <= shown.radius) & recon.in_image(view, points)]
        axes.scatter(*(recon.project(view, points)[0] * scale - 0.5).T, s=3, color="#00a0ff", linewidths=0)
    outline = sphere_outline(recon.c2w[view], shown.radius)
    if len(outline):
        xy, depth = recon.project(view, outline)
        xy[depth <= 0] = np.nan
        axes.plot(*(xy * scale - 0.5).T, color=SPHERE_COLOR, linewidth=1)
    if recon.in_image(view, look_at[None])[0]:
        xy, _ = recon.project(view, look_at[None])
        axes.scatter(*(xy * scale - 0.5).T, color=LOOK_AT_COLOR, marker="x", s=25)
    axes.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5))
    axes.set_title(recon.names[view], fontsize=7)


def sphere_outline(c2w: Float[np.ndarray, "3 4"], r: float, n: int = 90) -> Float[np.ndarray, "n 3"]:
    """Points where rays from a camera touch the sphere of radius r around the origin.

    With the camera at distance d, they form a circle of radius r sqrt(1 - (r/d)^2) in the plane at distance r^2/d
    from the origin. A camera inside the sphere sees no outline: [0, 3].
    """
    centre = c2w[:, 3]
    d = float(np.linalg.norm(centre))
    if d <= r:
        return np.zeros((0, 3))
    to_camera = centre / d
    side = np.cross(to_camera, np.eye(3)[int(np.argmin(np.abs(to_camera)))])
    side = side / np.linalg.norm(side)
    angle = np.linspace(0, 2 * np.pi, n)[:, None]
    circle = np.cos(angle) * side + np.sin(angle) * np.cross(to_camera, side)
    return to_camera * r * r / d + r * np.sqrt(1 - (r / d) ** 2) * circle
