"""Fewer faces: the count that was asked for, near the surface, in place and with colours."""

import logging

import numpy as np
import pytest

from isosweep.errors import InputError
from isosweep.meshes import simplify
from isosweep.meshes.topology import face_areas
from isosweep.types import Mesh
from tests.support.analytic import joined, sphere

pytest.importorskip("fast_simplification")


def test_a_ball_far_away_keeps_its_place_size_and_colours(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "isosweep")
    centre = (1000.0, -2000.0, 50.0)
    ball = sphere(7.0, 5, centre)
    painted = Mesh(
        ball.vertices, ball.faces, (ball.vertices - centre) / 14 + 0.5, np.zeros_like(ball.vertices)
    )
    made = simplify.simplified(painted, 1000)
    assert len(made.faces) == 1000
    assert "export.faces=1000: 1000 of 20480 faces stay" in caplog.text
    away = np.linalg.norm(made.vertices - centre, axis=1)
    assert np.abs(away - 7.0).max() < 0.05
    assert face_areas(made).sum() == pytest.approx(4 * np.pi * 49, rel=0.01)
    assert made.colors is not None
    assert np.abs(made.colors - ((made.vertices - centre) / 14 + 0.5)).max() < 0.02
    assert made.normals is None
    assert sorted(np.unique(made.faces)) == list(range(len(made.vertices)))


def test_a_mesh_that_is_small_enough_stays_as_it_is() -> None:
    ball = sphere(1.0, 2)
    assert simplify.simplified(ball, len(ball.faces)) is ball


def test_the_fast_pass_reaches_counts_that_the_careful_one_does_not() -> None:
    made = simplify.simplified(joined(sphere(1.0, 4), sphere(0.3, 4, (2, 0, 0))), 100)
    assert len(made.faces) <= 100


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"export\.faces needs fast-simplification.*pip install fast-simpl"):
        simplify.require()
