"""Holes of plates and balls, with areas and counts worked by hand."""

import logging
from collections import Counter

import numpy as np
import pytest

from isosweep.meshes import holes
from isosweep.meshes.topology import face_areas, face_normals
from isosweep.types import Mesh
from tests.support.analytic import sphere


def plate(n: int, without: set[tuple[int, int]]) -> Mesh:
    """A flat square of n x n cells of side 1, two triangles each, that face up; some cells are left out."""
    x, y = np.meshgrid(np.arange(n + 1.0), np.arange(n + 1.0), indexing="ij")
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    faces = []
    for i in range(n):
        for j in range(n):
            if (i, j) not in without:
                a, b, c, d = (p * (n + 1) + q for p, q in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)))
                faces += [[a, b, c], [a, c, d]]
    return Mesh(vertices, np.array(faces))


def faces_of_edges(mesh: Mesh) -> Counter[tuple[int, int]]:
    return Counter(tuple(sorted((int(f[i]), int(f[(i + 1) % 3])))) for f in mesh.faces for i in range(3))


def test_small_holes_are_closed_and_large_ones_stay(caplog: pytest.LogCaptureFixture) -> None:
    """An L of three cells has a loop of length 8, a single cell one of 4; the plate's own border has 24."""
    caplog.set_level(logging.INFO, "isosweep")
    open_ = plate(6, {(1, 1), (1, 2), (2, 1), (4, 4)})
    assert sorted(len(loop) for loop in holes.loops(open_)) == [4, 8, 24]
    one, both = holes.filled(open_, 5.0), holes.filled(open_, 8.0)
    assert face_areas(one).sum() == pytest.approx(33.0)
    assert "1 closed, 2 larger ones stay, 0 could not be closed" in caplog.text
    assert face_areas(both).sum() == pytest.approx(36.0), "the smallest area leaves nothing folded over"
    assert (face_normals(both)[:, 2] > 0.999).all(), "new faces look to the side of those around them"
    assert len(both.vertices) == len(open_.vertices)
    assert max(faces_of_edges(both).values()) == 2
    assert holes.filled(open_, 3.9).faces.tolist() == open_.faces.tolist()


def test_a_closed_ball_has_no_loop_and_an_opened_one_is_closed_again() -> None:
    ball = sphere(1.0, 3)
    assert list(holes.loops(ball)) == []
    opened = Mesh(ball.vertices, ball.faces[ball.vertices[ball.faces].mean(1)[:, 2] < 0.9])
    closed = holes.filled(opened, 4.0)
    assert set(faces_of_edges(closed).values()) == {2}
    new = Mesh(closed.vertices, closed.faces[len(opened.faces) :])
    assert (face_normals(new)[:, 2] > 0.9).all()


def test_loops_that_touch_in_a_corner_are_two() -> None:
    open_ = plate(4, {(1, 1), (2, 2)})
    assert sorted(len(loop) for loop in holes.loops(open_)) == [4, 4, 16]
    assert face_areas(holes.filled(open_, 4.0)).sum() == pytest.approx(16.0)


def test_a_chord_that_is_an_edge_already_is_not_used() -> None:
    """A square hole whose diagonal 0-2 belongs to two faces that stand on it: the other diagonal closes it."""
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    barred = np.zeros((4, 4), dtype=bool)
    barred[0, 2] = True
    made = holes._patch(square, barred)
    assert made is not None
    assert sorted(map(sorted, made.tolist())) == [[0, 1, 3], [1, 2, 3]]
    barred[1, 3] = True
    assert holes._patch(square, barred) is None


def test_the_smallest_area_of_a_bent_loop() -> None:
    """With the edge 1-3 the areas are |(2, 2, 1)| / 2 = 1.5 and 0.5; with 0-2 each is 1 x sqrt(5) / 2."""
    bent = np.array([[0.0, 0, 2], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    made = holes._patch(bent, np.zeros((4, 4), dtype=bool))
    assert made is not None
    assert face_areas(Mesh(bent, made)).sum() == pytest.approx(2.0)
    barred = np.zeros((4, 4), dtype=bool)
    barred[1, 3] = True
    other = holes._patch(bent, barred)
    assert other is not None
    assert face_areas(Mesh(bent, other)).sum() == pytest.approx(np.sqrt(5))
