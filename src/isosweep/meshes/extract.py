"""The surface as a mesh in world units with vertex colours; renders, maps and a video as files.

Symbols: P points, N vertices, F faces.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.config.settings import ExportSettings
from isosweep.meshes.marching_cubes import extract as extract_mesh
from isosweep.meshes.topology import largest_component, vertex_normals
from isosweep.types import Knobs, Mesh, Scene


@runtime_checkable
class Surface(Protocol):
    """What is needed of a model (models/base.py) to extract its surface."""

    def level(self, points: Tensor, knobs: Knobs) -> Tensor: ...

    def color(self, points: Tensor, dirs: Tensor, knobs: Knobs) -> Tensor: ...


def export_mesh(
    model: Surface,
    scene: Scene,
    knobs: Knobs,
    settings: ExportSettings,
) -> Mesh:
    """The surface in world units, normals outward, with the colour seen along the inward normal.

    ``settings.level`` is an iso value of ``model.level`` (None: 0, the model's own surface): a distance
    for a signed distance field. Raises ValueError where the level set is empty or the field not finite.
    """
    where = knobs.device
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
