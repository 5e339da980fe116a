"""Points on triangles, their seeded order, and greedy thinning, against the rules written out."""

import struct

import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from isosweep.evaluation import dtu_sampling
from isosweep.types import Mesh


def lattice_by_loops(mesh: Mesh, pitch: float) -> np.ndarray:
    points = []
    for face in mesh.faces:
        p, q, r = mesh.vertices[face]
        area2 = np.linalg.norm(np.cross(q - p, r - p))
        if area2 == 0:
            continue
        l1, l2 = np.linalg.norm(q - p), np.linalg.norm(r - p)
        step = pitch * np.sqrt(l1 * l2 / area2)
        n1, n2 = int(np.floor(l1 / step)), int(np.floor(l2 / step))
        i, j = np.mgrid[: n1 + 1, : n2 + 1]
        s, t = (i + 0.5) / max(n1, 1e-7), (j + 0.5) / max(n2, 1e-7)
        inside = s + t < 1
        points.append(p + s[inside, None] * (q - p) + t[inside, None] * (r - p))
    return np.concatenate([np.zeros((0, 3)), *points])


def one_by_one(points: np.ndarray, radius: float, order: np.ndarray) -> np.ndarray:
    alive = np.ones(len(points), dtype=bool)
    near = cdist(points, points) <= radius
    for k in order:
        if alive[k]:
            alive[near[k]] = False
            alive[k] = True
    return points[alive]


def rows(points: np.ndarray) -> set[tuple[float, ...]]:
    return set(map(tuple, points.tolist()))


def soup(faces: int, seed: int = 0, size: float = 1.0) -> Mesh:
    """Triangles of very different sizes and shapes, one without area, one point thrice."""
    rng = np.random.default_rng(seed)
    corners = rng.normal(size=(faces, 3, 3)) * np.exp(rng.normal(size=(faces, 1, 1))) * size
    corners[0, 2] = (corners[0, 0] + corners[0, 1]) / 2
    corners[0] = np.round(corners[0] * 4) / 4
    corners[1] = corners[1, :1]
    return Mesh(corners.reshape(-1, 3), np.arange(3 * faces).reshape(-1, 3))


@pytest.mark.parametrize("pitch", [0.05, 0.2, 1.0, 50.0])
def test_lattices_are_those_of_the_formula(pitch: float, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = soup(60)
    expected = lattice_by_loops(mesh, pitch)
    for size in (1 << 21, 7):  # whole, and in blocks that cut through faces and rows
        monkeypatch.setattr(dtu_sampling, "ROWS", size)
        monkeypatch.setattr(dtu_sampling, "POINTS", size)
        blocks = list(dtu_sampling.triangle_lattices(mesh, pitch))
        got = np.concatenate([np.zeros((0, 3)), *blocks])
        assert len(got) == len(expected)
        if len(expected):
            assert KDTree(got).query(expected)[0].max() < 1e-9
            assert KDTree(expected).query(got)[0].max() < 1e-9
        if size == 7 and len(blocks):
            assert max(map(len, blocks)) <= max(7, 4 * int(np.sqrt(len(expected)) + 1))


def test_about_one_point_a_square_of_the_pitch() -> None:
    flat = Mesh(
        np.array([[0, 0, 0], [30.0, 0, 0], [30, 20, 0], [0, 20, 0]]), np.array([[0, 1, 2], [2, 3, 0]])
    )
    points = np.concatenate(list(dtu_sampling.triangle_lattices(flat, 0.2)))
    assert len(points) == pytest.approx(600 / 0.04, rel=0.02)
    assert (points[:, 2] == 0).all()
    assert list(dtu_sampling.triangle_lattices(Mesh(flat.vertices, flat.faces[:0]), 0.2)) == []


def test_a_surface_in_other_units_is_refused_before_it_fills_the_memory() -> None:
    huge = Mesh(np.eye(3) * 1e6, np.array([[0, 1, 2]]))
    with pytest.raises(
        ValueError, match=r"needs 2\.17e\+13 samples .*limit is 4e\+08.*reach from .*--transform"
    ):
        next(iter(dtu_sampling.triangle_lattices(huge, 0.2)))


@pytest.mark.parametrize("kind", ["even", "clustered", "lattice", "twice", "line"])
@pytest.mark.parametrize("first", [1, 16, 1 << 10])
def test_thinning_is_the_sequential_rule(kind: str, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtu_sampling, "FIRST", first)
    monkeypatch.setattr(dtu_sampling, "BATCH", max(first, 100))
    rng = np.random.default_rng(3)
    points = {
        "even": rng.uniform(0, 3, (1500, 3)) * [1, 1, 0.1],
        "clustered": rng.normal(0, 0.02, (1500, 3)) + rng.integers(0, 3, (1500, 3)),
        "lattice": np.stack(np.meshgrid(*[np.arange(11) * 0.1] * 3), axis=-1).reshape(-1, 3),
        "twice": np.repeat(rng.uniform(0, 2, (400, 3)), 3, axis=0),
        "line": np.column_stack([np.linspace(0, 20, 1500), np.zeros((1500, 2))]),
    }[kind]
    radius = 0.205  # no distance of the lattice is near it: equality would hang on the last bit
    for order in (dtu_sampling.shuffled(points, 7), np.arange(len(points)), rng.permutation(len(points))):
        got = dtu_sampling.thin(points, radius, order)
        assert rows(got) == rows(one_by_one(points, radius, order))
        assert len(got) == len(rows(got))
        if len(got) > 1:
            assert KDTree(got).query(got, k=2)[0][:, 1].min() > radius


def test_a_point_at_the_radius_itself_goes_like_in_the_public_script() -> None:
    pair = np.array([[0.0, 0, 0], [0.5, 0, 0], [1.0, 0, 0]])
    np.testing.assert_array_equal(np.sort(dtu_sampling.thin(pair, 0.5, np.arange(3))[:, 0]), [0, 1])
    assert len(dtu_sampling.thin(np.zeros((0, 3)), 0.5, np.zeros(0, dtype=np.int64))) == 0


def test_the_order_belongs_to_the_points_and_the_seed() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5000, 3))
    points[:10] *= -0.0
    turn = rng.permutation(5000)
    one, other = (
        points[dtu_sampling.shuffled(points, 0)],
        points[turn][dtu_sampling.shuffled(points[turn], 0)],
    )
    np.testing.assert_array_equal(one, other)
    assert (one != points[dtu_sampling.shuffled(points, 1)]).any()
    # random: no coordinate and no place in the file goes with the rank
    order = dtu_sampling.shuffled(points[10:], 0)
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order))
    table = np.column_stack([points[10:], np.arange(len(order)), ranks])
    assert np.abs(np.corrcoef(table.T)[-1, :-1]).max() < 0.05
    # an axis counts as itself: (1, 2, 3) and (3, 2, 1) are not twins
    assert (order != dtu_sampling.shuffled(points[10:, ::-1], 0)).any()


def test_nearest_is_brute_force() -> None:
    rng = np.random.default_rng(1)
    cloud, points = rng.normal(size=(300, 3)), np.concatenate([rng.normal(size=(500, 3)), [[1e6, 0, 0]]])
    exact = cdist(points, cloud).min(axis=1)
    np.testing.assert_allclose(dtu_sampling.nearest(KDTree(cloud), points), exact, rtol=1e-12)
    bound = float(np.median(exact))
    capped = dtu_sampling.nearest(KDTree(cloud), points, bound)
    np.testing.assert_array_equal(np.isinf(capped), exact >= bound)
    same = np.zeros((4, 3))
    np.testing.assert_array_equal(dtu_sampling.nearest(KDTree(same), same), np.zeros(4))


def test_the_order_of_known_points_does_not_change() -> None:
    """Pinned: another order is another thinned cloud, and so other published numbers."""
    points = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.25, 2.0], [3.0, 4.0, 5.0]])
    expected = sorted(range(5), key=lambda i: by_hand(points[i].tolist(), 7))
    assert dtu_sampling.shuffled(points, 7).tolist() == expected
    many = np.random.default_rng(0).normal(size=(2000, 3))
    expected = sorted(range(2000), key=lambda i: by_hand(many[i].tolist(), 0))
    assert dtu_sampling.shuffled(many, 0).tolist() == expected


def by_hand(point: list[float], seed: int) -> int:
    """The finaliser of splitmix64 over the bits of the coordinates, with Python's whole numbers."""
    mask, state = (1 << 64) - 1, seed
    for value in point:
        state ^= int.from_bytes(struct.pack("<d", value), "little")
        state = (state + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state
