"""The contact sheet: one page with the cameras around the points, the sphere, thumbnails and masks."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from isosweep.data.normalization import look_at_point
from isosweep.prepare.hull import Hull, outside_share, visual_hull
from isosweep.prepare.region import framed_share
from isosweep.prepare.views import Shown, small_masks
from isosweep.record.files import atomic_write_bytes

SHEET = "contact.png"
THUMBNAILS = 24
COLUMNS = 6
SIDE = 320
HULL_VIEWS = 60
DOTS = 250
"""Points drawn on a thumbnail."""
SPHERE, LOOK, CAMERA = "#d98c00", "#d6005c", "#1f5fbf"


def draw(shown: Shown, lines: list[str], path: Path) -> list[str]:
    """Write the page; what was measured for it, one fact a line."""
    from matplotlib.figure import Figure

    solved = shown.solved
    masks = small_masks(solved.names, shown.mask, HULL_VIEWS)
    hull = visual_hull(solved, masks, np.zeros(3), shown.radius) if masks else None
    look = look_at_point(solved.c2w)
    facts = [*measure(shown, look), *_hull_facts(shown, hull, masks)]
    views = np.unique(np.linspace(0, len(solved) - 1, min(THUMBNAILS, len(solved))).astype(int)).tolist()
    rows = -(-len(views) // COLUMNS)
    text = [*lines, *facts, *_legend(shown, hull)]
    figure = Figure(figsize=(16, 6.2 + 0.17 * len(text) + 2.7 * rows), layout="constrained")
    heights = [0.3 + 0.17 * len(text), 5.9, 2.7 * rows]
    words, plots, bottom = figure.subfigures(3, 1, squeeze=False, height_ratios=heights)[:, 0]
    words.suptitle(shown.title, x=0.01, ha="left", fontsize=13, weight="bold")
    words.text(0.01, 0.0, "\n".join(text), va="bottom", fontsize=9)
    _plots(plots, shown, hull, look)
    grid = bottom.subplots(rows, COLUMNS, squeeze=False).ravel()
    for place in grid:
        place.axis("off")
    for place, view in zip(grid, views, strict=False):
        _thumbnail(place, shown, view, look)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, buffer.getvalue())
    return facts


def measure(shown: Shown, look: np.ndarray) -> list[str]:
    """Cameras, points and look-at against the sphere, in words, with what to do where it is bad."""
    solved, r = shown.solved, shown.radius
    distance = np.linalg.norm(solved.c2w[:, :, 3], axis=1) / r
    inside = int((distance < 1).sum())
    framing = int(sum(solved.framed(v, np.zeros((1, 3)))[0] for v in range(len(solved))))
    facts = [
        f"{len(solved)} cameras, {distance.min():.2f} to {distance.max():.2f} radii from the centre (median "
        f"{np.median(distance):.2f}); {framing} of them have the centre in the picture"
    ]
    if inside:
        facts.append(
            f"WARNING: {inside} cameras stand inside the sphere: a model that starts its rays at the sphere loses "
            "what they see; make the sphere smaller"
        )
    if framing < 0.5 * len(solved):
        facts.append(
            "WARNING: most cameras do not look at the sphere's centre: is the normalisation of other data?"
        )
    facts.append(f"look-at point {np.linalg.norm(look) / r:.2f} radii from the centre")
    if len(solved.xyz):
        share = framed_share(solved, solved.xyz)
        near = np.linalg.norm(solved.xyz, axis=1) <= r
        most = share >= 0.8
        told = f"{near.mean():.0%} of the points are in the sphere"
        if most.sum() >= 10:
            told += f", {near[most].mean():.0%} of those that most cameras have in the picture"
        facts.append(told)
    return facts


def _hull_facts(shown: Shown, hull: Hull | None, masks: dict[int, np.ndarray]) -> list[str]:
    if hull is None:
        return [
            "no masks, so no visual hull: how much of the object is in the sphere is told by the points alone"
        ]
    if hull.empty:
        return [
            "WARNING: the visual hull is empty: masks and cameras contradict each other (wrong masks, wrong poses, "
            "or an object outside the sphere's surroundings)"
        ]
    facts = [
        f"visual hull: {hull.in_sphere:.1%} of it in the sphere, {hull.in_box:.1%} in the box, farthest cell at "
        f"{hull.reach:.2f} radii" + (" or more: the cameras do not bound it" if hull.clipped else "")
    ]
    if hull.judged < 0.5:
        facts.append(
            f"only {hull.judged:.0%} of the sphere is in the picture of half of the cameras: the hull is not certain"
        )
    missing = outside_share(shown.solved, masks, shown.radius)
    worst = max(missing, key=lambda v: missing[v])
    mean = float(np.mean(list(missing.values())))
    facts.append(
        f"{1 - mean:.1%} of the foreground pixels look into the sphere (worst view {shown.solved.names[worst]}: "
        f"{1 - missing[worst]:.1%})"
    )
    # few views leave spikes of the hull where nobody looks: they alone are no reason to warn
    if mean > 0.01 or (hull.in_sphere < 0.9 and not hull.clipped):
        facts.append(
            "WARNING: a part of the object lies outside the sphere, where no surface is reconstructed: take a larger "
            "sphere (prepare.py --margin or --sphere, another scale_mat, dataset.scale) or masks that leave less"
        )
    return facts


def _legend(shown: Shown, hull: Hull | None) -> list[str]:
    parts = ["cameras blue", "sphere and box orange", "look-at point magenta", shown.points_are]
    parts += ["hull grey"] if hull is not None and not hull.empty else []
    splits = ", ".join(f"{n} {count}" for n, count in shown.splits.items())
    return ["; ".join(parts) + (f"; splits {splits}" if splits else "")]


def frame_of(c2w: np.ndarray) -> np.ndarray:
    """Rows: right, front and up of a frame whose up is the mean of the cameras'."""
    up = -c2w[:, :, 1].mean(0)
    up = up / np.linalg.norm(up) if np.linalg.norm(up) > 0.1 else np.array([0.0, 0.0, 1.0])
    away = c2w[:, :, 3].mean(0)
    front = away - (away @ up) * up
    if np.linalg.norm(front) < 1e-6:
        front = np.cross(up, np.eye(3)[int(np.argmin(np.abs(up)))])
    front = front / np.linalg.norm(front)
    return np.stack([np.cross(front, up), front, up])


def _plots(figure: Any, shown: Shown, hull: Hull | None, look: np.ndarray) -> None:
    """A perspective view, one from above and one from the side, all with the cameras' own up."""
    solved, r = shown.solved, shown.radius
    turn = frame_of(solved.c2w)
    centres, ends, apex = _frusta(solved, r)
    low, high = shown.box
    corners = np.array(
        [[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    )
    edges = [(i, j) for i in range(8) for j in range(i + 1, 8) if (i ^ j) in (1, 2, 4)]
    points, rgb = _thinned(solved, r)
    shape = np.zeros((0, 3)) if hull is None else hull.centres[:: max(1, len(hull.centres) // 3000)]
    three = figure.add_subplot(1, 3, 1, projection="3d")
    for place, up, name in ((2, 1, "from above"), (3, 2, "from the side")):
        axes = figure.add_subplot(1, 3, place)
        axes.set_title(name, fontsize=9)
        axes.set_aspect("equal")
        _flat(axes, turn[[0, up]], shape, points, rgb, centres, ends, corners, edges, r, look)
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    local = points @ turn.T
    three.scatter(*local.T, s=1, c=rgb, depthshade=False)
    segments = np.concatenate([np.stack([apex, ends], 2).reshape(-1, 2, 3), _rims(ends)]) @ turn.T
    three.add_collection3d(Line3DCollection(segments, colors=CAMERA, linewidths=0.6))
    box = np.array([[corners[i], corners[j]] for i, j in edges]) @ turn.T
    three.add_collection3d(Line3DCollection(box, colors=SPHERE, linewidths=0.8))
    circle = np.linspace(0, 2 * np.pi, 60)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        ring = np.zeros((60, 3))
        ring[:, a], ring[:, b] = r * np.cos(circle), r * np.sin(circle)
        three.plot(*ring.T, color=SPHERE, linewidth=0.8)
    three.scatter(*(turn @ look)[:, None], color=LOOK, s=25, marker="x")
    every = np.concatenate([centres @ turn.T, [[r] * 3, [-r] * 3]])
    middle, half = (every.max(0) + every.min(0)) / 2, float((every.max(0) - every.min(0)).max()) / 2 * 1.05
    three.set(**{f"{axis}lim": (m - half, m + half) for axis, m in zip("xyz", middle, strict=True)})
    three.set_box_aspect((1, 1, 1))
    three.view_init(elev=25, azim=-50)
    three.tick_params(labelsize=6)


def _flat(axes: Any, turn, shape, points, rgb, centres, ends, corners, edges, r, look) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Circle

    if len(shape):
        axes.scatter(*(shape @ turn.T).T, s=4, color="#d5d5d5", linewidths=0)
    axes.scatter(*(points @ turn.T).T, s=1.5, c=rgb, linewidths=0)
    outline = np.array([[corners[i], corners[j]] for i, j in edges]) @ turn.T
    axes.add_collection(LineCollection(list(outline), colors=SPHERE, linewidths=0.7))
    axes.add_patch(Circle((0, 0), r, fill=False, color=SPHERE, linewidth=1.2))
    heads = np.stack([centres, ends.mean(1)], 1) @ turn.T
    axes.add_collection(LineCollection(list(heads), colors=CAMERA, linewidths=0.8))
    axes.scatter(*(centres @ turn.T).T, s=10, color=CAMERA)
    axes.scatter(*(turn @ look)[:, None], color=LOOK, marker="x", s=40, zorder=5)
    every = np.concatenate([centres @ turn.T, [[r, r], [-r, -r]]])
    low, high = every.min(0), every.max(0)
    pad = 0.06 * float((high - low).max())
    axes.set(xlim=(low[0] - pad, high[0] + pad), ylim=(low[1] - pad, high[1] + pad))
    axes.tick_params(labelsize=7)


def _frusta(solved: Any, r: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Camera centres [V, 3], corners of the image planes [V, 4, 3] at a short depth, centres a corner."""
    centres = solved.c2w[:, :, 3]
    depth = 0.15 * max(float(np.median(np.linalg.norm(centres, axis=1))), r)
    h, w = solved.hw.T
    zero = np.zeros_like(w)
    pixels = np.stack([np.stack([zero, w, w, zero], 1), np.stack([zero, zero, h, h], 1)], -1).astype(float)
    rays = np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], -1) @ np.linalg.inv(solved.K).transpose(
        0, 2, 1
    )
    ends = depth * rays @ solved.c2w[:, :, :3].transpose(0, 2, 1) + centres[:, None]
    return centres, ends, np.repeat(centres[:, None], 4, 1)


def _rims(ends: np.ndarray) -> np.ndarray:
    return np.stack([ends, np.roll(ends, -1, axis=1)], 2).reshape(-1, 2, 3)


def _thinned(solved: Any, r: float) -> tuple[np.ndarray, np.ndarray]:
    """Points near the scene, at most some thousand, and their colours in [0, 1]."""
    near = np.flatnonzero(np.linalg.norm(solved.xyz, axis=1) < 4 * r) if len(solved.xyz) else np.zeros(0, int)
    near = near[:: max(1, len(near) // 6000)]
    return solved.xyz[near], solved.rgb[near] / 255


def _thumbnail(axes: Any, shown: Shown, view: int, look: np.ndarray) -> None:
    """An image with its mask, points, look-at and the sphere's outline, all through this view's camera."""
    solved = shown.solved
    picture = shown.picture(view, SIDE).astype(np.float32) / 255
    h, w = picture.shape[:2]
    scale = np.array([w / solved.hw[view, 1], h / solved.hw[view, 0]])
    mask = shown.mask(view)
    if mask is not None:
        fine = np.asarray(Image.fromarray(mask).resize((w, h)), np.float32)
        picture = picture * (0.35 + 0.65 * fine[..., None])
        if mask.any() and not mask.all():
            axes.contour(fine, [0.5], colors="#00c000", linewidths=0.8)
    axes.imshow(picture.clip(0, 1))
    if len(solved.xyz):
        some = solved.xyz[:: max(1, len(solved.xyz) // DOTS)]
        some = some[(np.linalg.norm(some, axis=1) <= shown.radius) & solved.framed(view, some)]
        axes.scatter(*(solved.project(view, some)[0] * scale - 0.5).T, s=3, color="#00a0ff", linewidths=0)
    outline = sphere_outline(solved.c2w[view], shown.radius)
    if len(outline):
        xy, depth = solved.project(view, outline)
        xy[depth <= 0] = np.nan
        axes.plot(*(xy * scale - 0.5).T, color=SPHERE, linewidth=1)
    if solved.framed(view, look[None])[0]:
        axes.scatter(*(solved.project(view, look[None])[0] * scale - 0.5).T, color=LOOK, marker="x", s=25)
    axes.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5))
    axes.set_title(solved.names[view], fontsize=7)


def sphere_outline(c2w: np.ndarray, r: float, n: int = 90) -> np.ndarray:
    """Points [n, 3] where rays from the camera touch the sphere; none from inside it."""
    centre = c2w[:, 3]
    d = float(np.linalg.norm(centre))
    if d <= r:
        return np.zeros((0, 3))
    away = centre / d
    side = np.cross(away, np.eye(3)[int(np.argmin(np.abs(away)))])
    side = side / np.linalg.norm(side)
    angle = np.linspace(0, 2 * np.pi, n)[:, None]
    ring = np.cos(angle) * side + np.sin(angle) * np.cross(away, side)
    return away * r * r / d + r * np.sqrt(1 - (r / d) ** 2) * ring
