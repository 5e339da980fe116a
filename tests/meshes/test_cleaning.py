"""What export.clean takes off a mesh, by hand-placed parts that each step must keep or drop."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from isosweep.errors import InputError
from isosweep.meshes import cleaning, extract
from isosweep.types import Mesh
from tests.meshes.test_extract import SMALL, similarity
from tests.support.analytic import KNOBS, SphereModel, joined, sphere, sphere_scene

BALL = sphere(0.5, 3)
"""What the photographs of ``sphere_scene(SphereModel(0.5))`` show."""


def moved(mesh: Mesh, x: float, y: float, z: float) -> Mesh:
    return Mesh(mesh.vertices + np.array([x, y, z]), mesh.faces)


CORNER = moved(sphere(0.05, 2), 0.9, 0.9, 0.9)
BESIDE = moved(sphere(0.1, 2), 0.0, 0.0, 0.8)
"""Inside the sphere of radius 1, off the masks, in sight of the cameras."""
INSIDE = sphere(0.3, 2)
ALL = joined(joined(BALL, CORNER), joined(BESIDE, INSIDE))


def left(*steps: str) -> dict[str, int]:
    """Faces that stay of each part."""
    scene = sphere_scene(SphereModel(0.5))
    mesh = cleaning.clean(ALL, scene, steps)
    centre = mesh.vertices[mesh.faces].mean(1)
    places = {"corner": [0.9, 0.9, 0.9], "beside": [0, 0, 0.8]}
    near = {name: np.linalg.norm(centre - place, axis=1) < 0.15 for name, place in places.items()}
    radius = np.linalg.norm(centre, axis=1)
    near |= {"inside": radius < 0.35, "ball": (radius > 0.4) & (radius < 0.55)}
    return {name: int(found.sum()) for name, found in near.items()}


FACES = {
    "corner": len(CORNER.faces),
    "beside": len(BESIDE.faces),
    "inside": len(INSIDE.faces),
    "ball": len(BALL.faces),
}


def test_nothing_is_taken_off_unasked() -> None:
    assert left() == FACES


def test_the_sphere_drops_the_corners_of_the_box() -> None:
    assert left("sphere") == FACES | {"corner": 0}


def test_masks_drop_what_a_photograph_does_not_show() -> None:
    found = left("masks")
    assert (found["corner"], found["beside"]) == (0, 0)
    assert (found["inside"], found["ball"]) == (FACES["inside"], FACES["ball"])


def test_what_no_training_view_sees_is_dropped() -> None:
    found = left("unseen")
    assert found["inside"] == 0, "it is behind the ball's surface"
    assert found["ball"] > 0.7 * FACES["ball"]
    assert found["beside"] > 0.3 * FACES["beside"], "it is in sight"


def test_what_a_training_view_has_before_its_near_distance_is_dropped() -> None:
    """The first camera looks along its axis at the ball; one small ball is before it, another behind its back."""
    scene = sphere_scene(SphereModel(0.5))
    pose = scene.cameras.c2w[0].numpy()
    centre, ahead = pose[:, 3], pose[:, 2]
    before, back = (moved(sphere(0.05, 2), *(centre + far * ahead)) for far in (0.5, -0.5))
    near = torch.full((len(scene.cameras),), 0.1)
    near[0] = 0.8
    known = replace(scene, cameras=replace(scene.cameras, near=near))
    mesh = joined(joined(BALL, before), back)
    assert len(cleaning.clean(mesh, known, ["near"]).faces) == len(BALL.faces) + len(back.faces)
    assert cleaning.n_floaters(mesh, known) == 1
    other = moved(sphere(0.02, 1), *(centre + 0.3 * ahead))
    assert cleaning.n_floaters(joined(mesh, other), known) == 2
    held_out = replace(known, splits={**known.splits, "train": (1, 2, 3)})
    assert cleaning.n_floaters(mesh, held_out) == 0
    assert len(cleaning.clean(mesh, held_out, ["near"]).faces) == len(mesh.faces)
    with pytest.raises(InputError, match=r"export\.clean=\[near\].*has none"):
        cleaning.require(scene, ["near"])


def test_views_that_are_held_out_do_not_count_as_seeing() -> None:
    scene = sphere_scene(SphereModel(0.5))
    one = replace(scene, splits={**scene.splits, "train": (0,)})
    all_views = cleaning.clean(BALL, scene, ["unseen"])
    assert 0.2 * len(BALL.faces) < len(cleaning.clean(BALL, one, ["unseen"]).faces) < len(all_views.faces)


def test_steps_are_taken_in_one_order_and_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "isosweep")
    assert left("unseen", "sphere", "masks") == left("masks", "unseen", "sphere")
    said = [record.message for record in caplog.records][:3]
    assert list(cleaning.STEPS) == ["near", "sphere", "masks", "unseen"]
    assert [text.split(":")[0] for text in said] == [
        f"cleaning the mesh, {s}" for s in ("sphere", "masks", "unseen")
    ]
    total = sum(FACES.values())
    assert said[0] == f"cleaning the mesh, sphere: {total - FACES['corner']} of {total} faces stay"


def test_an_exported_mesh_is_cleaned_in_world_units_with_colours_of_what_stays() -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model, similarity())
    whole = extract.export_mesh(model, scene, KNOBS, SMALL)
    one = replace(scene, splits={**scene.splits, "train": (0,)})
    mesh = extract.export_mesh(model, one, KNOBS, replace(SMALL, clean=["unseen"]))
    assert 0 < len(mesh.faces) < len(whole.faces)
    assert mesh.colors is not None
    assert len(mesh.colors) == len(mesh.vertices)
    known = {tuple(v) for v in np.round(whole.vertices, 6)}
    assert all(tuple(v) in known for v in np.round(mesh.vertices, 6))


def test_masks_that_are_not_there_and_a_mesh_of_which_nothing_stays_are_errors() -> None:
    scene = sphere_scene(SphereModel(0.5))
    scene.images.masks = None  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"export\.clean=\[masks\] reads masks, and scene ball has none"):
        cleaning.require(scene, ["masks"])
    cleaning.require(scene, ["sphere", "unseen"])
    with pytest.raises(InputError, match=r"export\.clean=sphere left nothing of the mesh's \d+ faces"):
        cleaning.clean(CORNER, scene, ["sphere"])
