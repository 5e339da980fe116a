"""Write views as files: render, depth, normals and photograph of each, and one grid of all."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from isosweep.config.settings import ExportSettings
from isosweep.rendering import pictures
from isosweep.rendering.views import Renderable, Views, render_view, spaced, truth_image
from isosweep.runtime import progress
from isosweep.runtime.files import atomic_write_bytes
from isosweep.types import Knobs, Scene

CAMERAS_FILE = "cameras.json"
RAYS_PER_POINT = 8
"""``export.chunk`` counts points; this many fewer rays are rendered at once, because a ray has many samples."""


class ViewWriter:
    """Writes the files of views while they are rendered, and a grid of all of them at the end.

    It is called with a view and its render (``evaluate(..., on_view=writer)``). For a view of ``views`` it writes
    ``<name>_rgb.png``, ``<name>_depth.png``, ``<name>_normal.png``, and the photograph as ``<name>_truth.png``.
    ``finish`` writes ``grid.png`` with a row for each view: photograph, render, depth, normals.
    """

    def __init__(self, scene: Scene, folder: Path, views: Sequence[int], colors: str = "viridis") -> None:
        self.scene, self.folder, self.views, self.colors = scene, folder, frozenset(views), colors
        self.paths: list[Path] = []
        self._rows: dict[int, list[np.ndarray]] = {}

    def __call__(self, view: int, out: Views) -> None:
        if view not in self.views:
            return
        maps = maps_of(out, self.colors)
        truth = truth_image(self.scene, view)[0].numpy().astype(np.float64)
        self.paths += _write(self.folder, self.scene.names[view], maps | {"truth": truth})
        self._rows[view] = [truth, *maps.values()]

    def finish(self) -> list[Path]:
        """Write the grid and the cameras; returns the paths of all files that were written."""
        if self._rows:
            self.paths.append(write_cameras(self.scene, sorted(self._rows), self.folder / CAMERAS_FILE))
            rows = [row for _, row in sorted(self._rows.items())]
            headings = ["photograph", "render", "depth", "normal"][: len(rows[0])]
            path = pictures.write_png(self.folder / "grid.png", pictures.grid(rows, headings))
            self.paths.append(path)
        return self.paths


def write_cameras(scene: Scene, views: Sequence[int], path: Path) -> Path:
    """Write where the written views see each point of the world.

    For each view, by the name of its files: ``size`` [width, height] in pixels, and ``matrix`` [3, 4] of world units to
    homogeneous pixels, of which (0, 0) is the upper left corner of the picture. Views in normalised device coordinates
    have none.
    """
    to_scene = np.linalg.inv(scene.to_world)
    cameras, made = scene.cameras, {}
    for view in views if cameras.ndc is None else ():
        c2w = np.eye(4)
        c2w[:3] = cameras.c2w[view].double().numpy()
        corner = np.array([[1, 0, 0.5 - cameras.pixel_centre], [0, 1, 0.5 - cameras.pixel_centre], [0, 0, 1]])
        matrix = corner @ cameras.K[view].double().numpy() @ (np.linalg.inv(c2w) @ to_scene)[:3]
        height, width = cameras.hw[view].tolist()
        made[_stem(scene.names[view])] = {"size": [width, height], "matrix": matrix.tolist()}
    atomic_write_bytes(path, json.dumps(made).encode())
    return path


def maps_of(out: Views, colors: str) -> dict[str, np.ndarray]:
    """The pictures of a rendered view: rgb, depth in ``colors`` and normal, if there are such."""
    rgb = out["rgb"].numpy().astype(np.float64)
    if "opacity" not in out:  # another program's picture
        return {"rgb": rgb}
    opacity = out["opacity"][..., 0].numpy().astype(np.float64)
    maps = {"rgb": rgb, "depth": _depth_map(out, opacity > 0.5, colors)}
    if "normal" in out:
        maps["normal"] = pictures.normal_picture(out["normal"].numpy().astype(np.float64), opacity)
    return maps


def _write(folder: Path, view_name: str, maps: Mapping[str, np.ndarray]) -> list[Path]:
    name = _stem(view_name)
    return [pictures.write_png(folder / f"{name}_{kind}.png", image) for kind, image in maps.items()]


def _stem(view_name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", view_name).strip("._")


def _depth_map(out: Views, inside: np.ndarray, colors: str) -> np.ndarray:
    """The depth map of a view [H, W, 3]: of the box, or with a learned background of all there is.

    The colours span the depths in the box, where there are any; what lies behind has the colour of the far end.
    """
    depth = out["depth"][..., 0].numpy()
    if "whole_depth" not in out:
        return pictures.depth_picture(depth, inside, colors=colors)
    low_high = np.percentile(depth[inside], [1, 99]) if inside.any() else None
    bounds = None if low_high is None else (float(low_high[0]), float(low_high[1]))
    covered = out["coverage"][..., 0].numpy() > 0.5
    return pictures.depth_picture(out["whole_depth"][..., 0].numpy(), covered, bounds, colors)


def chosen_views(scene: Scene, settings: ExportSettings) -> tuple[int, ...]:
    """The test views that are written: ``settings.renders`` evenly spaced ones, or all for -1."""
    return spaced(scene.splits["test"], None if settings.renders < 0 else settings.renders)


def export_renders(
    model: Renderable,
    scene: Scene,
    knobs: Knobs,
    settings: ExportSettings,
    folder: Path,
) -> list[Path]:
    """Render the test views of `chosen_views` and write their files with a `ViewWriter`; returns all paths.

    Raises:
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    views = chosen_views(scene, settings)
    writer = ViewWriter(scene, folder, views, settings.depth_colors)
    chunk = max(1, settings.chunk // RAYS_PER_POINT)
    for view in progress.through(views, "rendering views"):
        writer(view, render_view(model, scene.cameras, view, knobs, scene.background, chunk))
    return writer.finish()


def export_bare(
    model: Renderable,
    scene: Scene,
    knobs: Knobs,
    settings: ExportSettings,
    folder: Path,
) -> list[Path]:
    """Render the scene's views without images, as many as ``export.renders`` says; returns the paths of all files.

    Raises:
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    if scene.bare is None:
        return []
    names, cameras = scene.bare.names, scene.bare.cameras
    views = spaced(range(len(names)), None if settings.renders < 0 else settings.renders)
    chunk, paths = max(1, settings.chunk // RAYS_PER_POINT), []
    for view in progress.through(views, "rendering views without images"):
        out = render_view(model, cameras, view, knobs, scene.background, chunk)
        paths += _write(folder, names[view], maps_of(out, settings.depth_colors))
    return paths
