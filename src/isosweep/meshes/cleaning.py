"""Parts of a mesh that papers leave out before they score or show it, each by name (``export.clean``).

Axes: N vertices, F faces, V views.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from isosweep.errors import InputError
from isosweep.meshes.raycast import Caster, in_hull, project, visible_points, world_cameras
from isosweep.meshes.topology import face_components, with_faces
from isosweep.types import Cameras, Mesh, Scene

log = logging.getLogger("isosweep")

MASK_MARGIN = 1 / 64
"""By how much masks are dilated, as a fraction of the image's width. NeuS dilates DTU's by 25 of 1600 pixels."""


def clean(mesh: Mesh, scene: Scene, steps: Sequence[str]) -> Mesh:
    """The mesh without what ``steps`` name; each step sees what the ones before it left.

    - ``near``: vertices in the frame of a training view and nearer to it than anything can be (``Cameras.near``): rays
      are not sampled there, so what the field says of that space is chance;
    - ``sphere``: vertices outside the sphere of the scene's radius, as the released meshes of NeuS are bounded;
    - ``masks``: vertices off the dilated mask of any training view that has one, as NeuS and instant-nsr-pl clean DTU's
      meshes before scoring;
    - ``unseen``: faces of which no training view sees a corner, because all of them are outside its frame or behind the
      mesh (Neuralangelo and MonoSDF cull by visibility).

    Args:
        mesh: in normalised units.
        steps: names of ``STEPS``; they are taken in its order, whatever theirs is.

    Raises:
        InputError: as ``require``, or nothing is left.
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    cameras = world_cameras(scene.cameras, np.eye(4))
    for name, step in STEPS.items():
        if name not in steps:
            continue
        before = len(mesh.faces)
        mesh = with_faces(mesh, step(mesh, scene, cameras))
        log.info("cleaning the mesh, %s: %d of %d faces stay", name, len(mesh.faces), before)
        if len(mesh.faces) == 0:
            raise InputError(
                f"export.clean={name} left nothing of the mesh's {before} faces: leave it out, or look at the mesh "
                "as it is"
            )
    return mesh


def require(scene: Scene, steps: Sequence[str]) -> None:
    """Check before training that a scene has what the steps read.

    Raises:
        InputError: ``masks`` for a scene without masks, ``near`` for one without near distances.
    """
    if "masks" in steps and not scene.images.has_masks:
        raise InputError(
            f"export.clean=[masks] reads masks, and scene {scene.name} has none (or dataset.masks=false leaves them "
            "out): give it masks, or clean by sphere or unseen"
        )
    if "near" in steps and scene.cameras.near is None:
        raise InputError(
            "export.clean=[near] reads how near to each camera the points of the structure from motion begin, and "
            f"scene {scene.name} has none: take dataset=colmap or nerfstudio with points, or leave it out"
        )


def n_floaters(mesh: Mesh, scene: Scene) -> int:
    """The number of connected parts of a mesh that reach into the space right before a training view.

    That space is in the view's frame and nearer than anything can be (``Cameras.near``).

    Args:
        mesh: in normalised units.

    Raises:
        InputError: nothing tells how near.
    """
    close = ~_far_enough(mesh, scene, world_cameras(scene.cameras, np.eye(4)))
    return len(np.unique(face_components(mesh)[close]))


def _far_enough(mesh: Mesh, scene: Scene, cameras: Cameras) -> Bool[np.ndarray, " f"]:
    require(scene, ("near",))
    assert scene.cameras.near is not None
    near = scene.cameras.near.cpu().numpy()
    keep = np.ones(len(mesh.vertices), dtype=bool)
    for view in scene.splits["train"]:
        centre = cameras.c2w[view, :, 3].numpy()
        close = np.flatnonzero(np.square(mesh.vertices - centre).sum(axis=1) < near[view] ** 2)
        keep[close[project(cameras, view, mesh.vertices[close])[2]]] = False
    return np.asarray(keep[mesh.faces].all(axis=1))


def _in_sphere(mesh: Mesh, scene: Scene, cameras: Cameras) -> Bool[np.ndarray, " f"]:
    near = np.linalg.norm(mesh.vertices, axis=1) <= scene.radius
    return np.asarray(near[mesh.faces].all(axis=1))


def _on_masks(mesh: Mesh, scene: Scene, cameras: Cameras) -> Bool[np.ndarray, " f"]:
    require(scene, ("masks",))
    views = scene.splits["train"]
    found = [scene.images.image(view)[1] for view in views]
    masks = [None if mask is None else mask.numpy() > 0.5 for mask in found]
    width = max(cameras.hw[view, 1].item() for view in views)
    inside = in_hull(cameras, masks, mesh.vertices, views, dilation=max(1, round(MASK_MARGIN * width)))
    return np.asarray(inside[mesh.faces].all(axis=1))


def _seen(mesh: Mesh, scene: Scene, cameras: Cameras) -> Bool[np.ndarray, " f"]:
    seen = visible_points(Caster(mesh), cameras, mesh.vertices, scene.splits["train"])
    return np.asarray(seen[mesh.faces].any(axis=1))


STEPS: dict[str, Callable[[Mesh, Scene, Cameras], Bool[np.ndarray, " f"]]] = {
    "near": _far_enough,
    "sphere": _in_sphere,
    "masks": _on_masks,
    "unseen": _seen,
}
"""Name -> which faces of a mesh stay."""
