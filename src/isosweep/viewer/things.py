"""Things that are drawn among the pictures: training cameras with their photographs, the crop box, a mesh.

``api`` is viser's scene of all windows or of one.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from isosweep.config.crop import Box
from isosweep.meshes.files import to_bytes
from isosweep.rendering.views import spaced, truth_image
from isosweep.types import Mesh, Scene
from isosweep.viewer.looks import Look

MOST_CAMERAS = 100
"""Training cameras that are drawn, evenly spaced."""
THUMBNAIL = 64
"""Pixels along the longer side of their photographs."""
FRUSTUM = 0.05
"""Size of a camera, as a fraction of the distance of the cameras from the middle of the scene."""
STEP_BACK = 0.25
"""How far the first look is behind its view, as a fraction of the distance of what it turns about."""
CROP_COLOR = (230, 120, 0)
FAR = 100.0
"""The depth at which nothing was met, in normalised units. viser's depths end at 167."""


def first_look(scene: Scene) -> Look:
    """Where a window looks from at first: a step behind the middle one of the training views.

    At the view's own place, its photograph would hide everything when the training cameras are shown. Rays in
    normalised device coordinates begin at the photographs, so their window stays there.
    """
    view = spaced(scene.splits["train"], 1)[0]
    c2w = scene.cameras.c2w[view].double().cpu().numpy()
    h, w = scene.cameras.hw[view].tolist()
    there = Look(c2w, _fov(scene, view), (h, w))
    if scene.cameras.ndc is not None:
        return there
    eye = c2w[:, 3] - STEP_BACK * (target(there) - c2w[:, 3])
    return replace(there, c2w=np.column_stack([c2w[:, :3], eye]))


def target(look: Look) -> Float[np.ndarray, "3"]:
    """The point to turn about: the one on the look's axis that is nearest to the middle of the scene."""
    eye, ahead = look.c2w[:, 3], look.c2w[:, 2]
    return eye + max(-float(eye @ ahead), 0.1) * ahead


def up_of(scene: Scene) -> Float[np.ndarray, "3"]:
    """The mean of what is up in the training photographs; z where these cancel."""
    up = -scene.cameras.c2w[list(scene.splits["train"])].double().cpu().numpy()[:, :, 1].mean(axis=0)
    length = float(np.linalg.norm(up))
    return up / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])


def add_cameras(api: Any, scene: Scene) -> list[Any]:
    """Draw the training cameras with their photographs; returns viser's handles."""
    views = spaced(scene.splits["train"], MOST_CAMERAS)
    c2w = scene.cameras.c2w.double().cpu().numpy()
    away = float(np.median(np.linalg.norm(c2w[list(views), :, 3], axis=1))) or scene.radius
    return [
        api.add_camera_frustum(
            f"/cameras/{view}",
            fov=_fov(scene, view),
            aspect=int(scene.cameras.hw[view, 1]) / int(scene.cameras.hw[view, 0]),
            scale=FRUSTUM * away,
            thickness=0.03 * FRUSTUM * away,
            image=thumbnail(scene, view),
            wxyz=quaternion(c2w[view, :, :3]),
            position=c2w[view, :, 3],
            cast_shadow=False,
        )
        for view in views
    ]


def thumbnail(scene: Scene, view: int) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph of a view, over the scene's background, at ``THUMBNAIL`` pixels or less."""
    import PIL.Image

    image = PIL.Image.fromarray(to_bytes(truth_image(scene, view)[0].cpu().numpy()))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(image)


def add_box(api: Any, box: Box) -> Any:
    """Draw the twelve edges of a box; returns viser's handle."""
    size = max(b - a for a, b in zip(*box, strict=True))
    return api.add_line_segments(
        "/crop", edges(box), np.array(CROP_COLOR, dtype=np.uint8), thickness=0.004 * size
    )


def edges(box: Box) -> Float[np.ndarray, "12 2 3"]:
    """The ends of the twelve edges of a box."""
    corner = np.array([[box[(i >> axis) & 1][axis] for axis in range(3)] for i in range(8)])
    pairs = [(i, i | 1 << axis) for axis in range(3) for i in range(8) if not i >> axis & 1]
    return corner[np.array(pairs)]


def add_mesh(api: Any, mesh: Mesh) -> Any:
    """Draw a mesh with the colours of its vertices, grey without; returns viser's handle."""
    import trimesh

    colors = np.full((len(mesh.vertices), 3), 0.7) if mesh.colors is None else mesh.colors
    made = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=to_bytes(colors[None])[0], process=False)
    return api.add_mesh_trimesh("/mesh", made, cast_shadow=False, receive_shadow=False)


def quaternion(rotation: Float[np.ndarray, "3 3"]) -> tuple[float, float, float, float]:
    """A rotation matrix as (w, x, y, z)."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = (float(part) for part in Rotation.from_matrix(rotation).as_quat())
    return w, x, y, z


def rotation(wxyz: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    """The inverse of `quaternion`."""
    from scipy.spatial.transform import Rotation

    w, x, y, z = wxyz
    return Rotation.from_quat([x, y, z, w]).as_matrix()


def _fov(scene: Scene, view: int) -> float:
    """The field of view of a view's height, in radians."""
    return 2 * math.atan(float(scene.cameras.hw[view, 0]) / 2 / float(scene.cameras.K[view, 1, 1]))
