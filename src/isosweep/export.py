"""The surface as a mesh in world units with vertex colours; renders, maps and a video as files.

Symbols: P points, N vertices, F faces.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from isosweep import chamfer, interrupts, pictures, silhouette, video
from isosweep.evaluation import Renderable, Views, render_view, spaced, truth_image
from isosweep.marching import extract as extract_mesh
from isosweep.record.files import atomic_write_bytes
from isosweep.settings import ExportSettings
from isosweep.types import Knobs, Mesh, Scene

__all__ = ["ViewWriter", "export_mesh", "export_renders", "export_video", "extract_mesh", "write_mesh"]

FORMATS = ("ply", "obj", "stl", "glb")
RAYS_PER_POINT = 8
"""A ray has many samples: this many fewer rays than points are rendered at once."""


@runtime_checkable
class Surface(Protocol):
    """What is needed of a model: ``level(points, knobs)`` and ``color(points, dirs, knobs)``."""

    def level(self, points: Any, knobs: Any) -> Any: ...

    def color(self, points: Any, dirs: Any, knobs: Any) -> Any: ...


def export_mesh(
    model: Surface,
    scene: Scene,
    knobs: Knobs,
    settings: ExportSettings,
    device: torch.device | str | None = None,
) -> Mesh:
    """The surface in world units, normals outward, with the colour seen along the inward normal.

    ``settings.level`` is an iso value of ``model.level`` (None: 0, the model's own surface): a distance
    for a signed distance field. Raises ValueError where the level set is empty or the field not finite.
    """
    where = torch.device(knobs.cos_anneal.device if device is None else device)
    mesh = extract_mesh(
        lambda points: model.level(points, knobs),
        scene.radius,
        settings.resolution,
        settings.block,
        0.0 if settings.level is None else float(settings.level),
        chunk=settings.chunk,
        device=where,
    )
    if settings.largest_component:
        mesh = largest_component(mesh)
    normals = vertex_normals(mesh)
    colors = None
    if settings.colors:
        colors = np.empty((len(mesh.vertices), 3))
        for start in range(0, len(colors), settings.chunk):
            part = slice(start, start + settings.chunk)
            points = torch.as_tensor(mesh.vertices[part], dtype=torch.float32, device=where)
            inward = torch.as_tensor(-normals[part], dtype=torch.float32, device=where)
            with torch.no_grad():
                colors[part] = model.color(points, inward, knobs).float().clamp(0, 1).cpu().numpy()
    return to_world(Mesh(mesh.vertices, mesh.faces, colors, normals), scene.to_world)


def to_world(mesh: Mesh, matrix: Float[np.ndarray, "4 4"]) -> Mesh:
    """Moved by a similarity; a mirroring one also turns the faces, so that normals stay outward."""
    linear = matrix[:3, :3]
    determinant = float(np.linalg.det(linear))
    rotation = linear / np.cbrt(abs(determinant))
    return Mesh(
        mesh.vertices @ linear.T + matrix[:3, 3],
        mesh.faces[:, ::-1] if determinant < 0 else mesh.faces,
        mesh.colors,
        None if mesh.normals is None else mesh.normals @ rotation.T,
    )


def largest_component(mesh: Mesh) -> Mesh:
    """The part with the most area; parts share no vertex."""
    label = chamfer.face_components(mesh)
    areas = np.bincount(label, weights=chamfer.face_areas(mesh))
    faces = mesh.faces[label == int(np.argmax(areas))]
    used, back = np.unique(faces, return_inverse=True)
    return Mesh(mesh.vertices[used], back.reshape(-1, 3))


def vertex_normals(mesh: Mesh) -> Float[np.ndarray, "n 3"]:
    """Unit mean of the faces' normals, weighted by area; zero where there is no area."""
    weighted = silhouette.face_normals(mesh) * chamfer.face_areas(mesh)[:, None]
    corner, size = mesh.faces.T.ravel(), len(mesh.vertices)
    total = np.stack([np.bincount(corner, np.tile(weighted[:, k], 3), size) for k in range(3)], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)


def write_mesh(mesh: Mesh, stem: Path, formats: Sequence[str] = ("ply",)) -> list[Path]:
    """``stem`` with each suffix: ply (binary), obj, stl (no colours), glb; each whole or not at all."""
    import trimesh

    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise ValueError(f"no mesh format '{unknown[0]}': export.formats takes {', '.join(FORMATS)}")
    made = trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_colors=None if mesh.colors is None else pictures.to_bytes(mesh.colors[:, None])[:, 0],
        process=False,
    )
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix in formats:
        data = made.export(file_type=suffix)
        path = stem.with_name(f"{stem.name}.{suffix}")
        atomic_write_bytes(path, data.encode() if isinstance(data, str) else bytes(data))
        paths.append(path)
    return paths


class ViewWriter:
    """Writes views as they are rendered, and a grid of all of them at the end.

    Called with a view and its render (``evaluation.evaluate(on_view=writer)``) it writes
    ``<name>_rgb.png``, ``_depth.png`` and ``_normal.png`` for the views chosen; ``finish`` writes
    ``grid.png``: photograph, render, depth, normals, one row a view.
    """

    def __init__(self, scene: Scene, folder: Path, views: Sequence[int]) -> None:
        self.scene, self.folder, self.views = scene, folder, frozenset(views)
        self.paths: list[Path] = []
        self._rows: dict[int, list[np.ndarray]] = {}

    def __call__(self, view: int, out: Views) -> None:
        if view not in self.views:
            return
        rgb, opacity = (
            out["rgb"].numpy().astype(np.float64),
            out["opacity"][..., 0].numpy().astype(np.float64),
        )
        maps = {"rgb": rgb, "depth": pictures.depth_picture(out["depth"][..., 0].numpy(), opacity > 0.5)}
        if "normal" in out:
            maps["normal"] = pictures.normal_picture(out["normal"].numpy().astype(np.float64), opacity)
        name = re.sub(r"[^\w.-]+", "_", self.scene.names[view]).strip("._")
        for kind, image in maps.items():
            self.paths.append(pictures.write_png(self.folder / f"{name}_{kind}.png", image))
        truth = truth_image(self.scene, view)[0].numpy().astype(np.float64)
        self._rows[view] = [truth, *maps.values()]

    def finish(self) -> list[Path]:
        """Write the grid; returns the paths of all files written."""
        if self._rows:
            rows = [row for _, row in sorted(self._rows.items())]
            headings = ["photograph", "render", "depth", "normal"][: len(rows[0])]
            path = pictures.write_png(self.folder / "grid.png", pictures.grid(rows, headings))
            self.paths.append(path)
        return self.paths


def chosen_views(scene: Scene, settings: ExportSettings) -> tuple[int, ...]:
    """The test views to write: ``settings.renders`` evenly spaced ones, all for -1."""
    return spaced(scene.splits["test"], None if settings.renders < 0 else settings.renders)


def export_renders(
    model: Renderable,
    scene: Scene,
    knobs: Knobs,
    settings: ExportSettings,
    folder: Path,
    device: torch.device | str | None = None,
) -> list[Path]:
    """Render and write ``settings.renders`` test views and their grid; see ``ViewWriter``."""
    views = chosen_views(scene, settings)
    writer = ViewWriter(scene, folder, views)
    chunk = max(1, settings.chunk // RAYS_PER_POINT)
    for view in views:
        interrupts.check()
        writer(view, render_view(model, scene.cameras, view, knobs, scene.background, chunk, device))
    return writer.finish()


def export_video(
    model: Renderable,
    scene: Scene,
    knobs: Knobs,
    settings: ExportSettings,
    path: Path,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render a turntable or a spiral (video.camera_path) and write it as an mp4."""
    cameras = video.camera_path(scene, settings.video_path, settings.video_frames, settings.video_size)
    chunk = max(1, settings.chunk // RAYS_PER_POINT)

    def frames():
        for i in range(len(cameras)):
            interrupts.check()
            out = render_view(model, cameras, i, knobs, scene.background, chunk, device)
            if progress is not None:
                progress(i + 1, len(cameras))
            yield pictures.to_bytes(out["rgb"].numpy())

    return video.write_video(path, frames(), settings.video_fps)
