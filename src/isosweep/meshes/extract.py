"""Extract a model's surface as a mesh in world units, with normals and vertex colours.

Axes: P points, N vertices, F faces.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.config.crop import box_of
from isosweep.config.settings import ExportSettings
from isosweep.meshes.cleaning import clean
from isosweep.meshes.holes import filled
from isosweep.meshes.marching_cubes import extract as extract_mesh
from isosweep.meshes.simplify import simplified
from isosweep.meshes.topology import largest_component, vertex_normals
from isosweep.runtime import progress
from isosweep.types import Knobs, Mesh, Scene


@runtime_checkable
class Surface(Protocol):
    """What a model (models/base.py) must have for its surface to be extracted."""

    def level(self, points: Tensor, knobs: Knobs) -> Tensor:
        """The function [P] of points [P, 3] whose zero level is the surface; it is lower inside."""
        ...

    def color(self, points: Tensor, dirs: Tensor, knobs: Knobs) -> Tensor:
        """Colours [P, 3] of points [P, 3] seen along unit directions [P, 3]."""
        ...


def export_mesh(
    model: Surface,
    scene: Scene,
    knobs: Knobs,
    settings: ExportSettings,
) -> Mesh:
    """The model's surface in world units, with outward normals, and the colours seen along the inward normals.

    Args:
        settings: ``level`` is the value of ``model.level`` on the surface (a distance, for a signed-distance field);
            None takes 0, the model's own surface. ``crop`` is the box whose surface is extracted (config/crop.py), with
            ``resolution`` cells along its longest side.

    Raises:
        InputError: the level set is empty, the field is not finite, the crop is no box, or cleaning leaves nothing.
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    device = knobs.device
    mesh = extract_mesh(
        lambda points: model.level(points, knobs),
        scene.radius,
        settings.resolution,
        settings.block,
        0.0 if settings.level is None else float(settings.level),
        box_of(settings.crop),
        chunk=settings.chunk,
        device=device,
        marching_cubes=settings.marching_cubes,
    )
    mesh = clean(mesh, scene, settings.clean)
    if settings.largest_component:
        mesh = largest_component(mesh)
    mesh = finished(mesh, scene, settings)
    normals = vertex_normals(mesh)
    colors = None
    if settings.colors:
        colors = np.empty((len(mesh.vertices), 3))
        for start in progress.through(range(0, len(colors), settings.chunk), "colouring the mesh"):
            part = slice(start, start + settings.chunk)
            points = torch.as_tensor(mesh.vertices[part], dtype=torch.float32, device=device)
            inward = torch.as_tensor(-normals[part], dtype=torch.float32, device=device)
            with torch.no_grad():
                colors[part] = model.color(points, inward, knobs).float().clamp(0, 1).cpu().numpy()
    return to_world(Mesh(mesh.vertices, mesh.faces, colors, normals), scene.to_world)


def finished(mesh: Mesh, scene: Scene, settings: ExportSettings) -> Mesh:
    """The mesh, in normalised units, with its small holes closed and reduced to ``settings.faces``.

    Raises:
        InputError: as `simplify.require`.
    """
    if settings.fill_holes > 0:
        mesh = filled(mesh, settings.fill_holes * 2 * scene.radius)
    return mesh if settings.faces is None else simplified(mesh, settings.faces)


def to_world(mesh: Mesh, matrix: Float[np.ndarray, "4 4"]) -> Mesh:
    """The mesh moved by a similarity [4, 4].

    A similarity that mirrors also reverses the order of each face's corners, so that normals still point outward.
    """
    linear = matrix[:3, :3]
    determinant = float(np.linalg.det(linear))
    rotation = linear / np.cbrt(abs(determinant))
    return Mesh(
        mesh.vertices @ linear.T + matrix[:3, 3],
        mesh.faces[:, ::-1] if determinant < 0 else mesh.faces,
        mesh.colors,
        None if mesh.normals is None else mesh.normals @ rotation.T,
    )
