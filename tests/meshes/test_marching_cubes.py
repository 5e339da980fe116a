"""Blockwise marching cubes on fields whose surfaces are known."""

import math
import signal

import numpy as np
import pytest
import torch
from torch import Tensor

from isosweep.evaluation import surface_metrics
from isosweep.meshes import marching_cubes
from isosweep.runtime import interrupts
from isosweep.runtime.interrupts import RunPreempted
from isosweep.types import Mesh


def ball(points: Tensor) -> Tensor:
    return points.norm(dim=-1) - 0.5


def ring(points: Tensor) -> Tensor:
    return ((points[:, :2].norm(dim=-1) - 0.6) ** 2 + points[:, 2] ** 2).sqrt() - 0.1


def bumps(points: Tensor) -> Tensor:
    """Hundreds of small pieces, ambiguous cells, surface that leaves the box."""
    x, y, z = points.unbind(-1)
    wave = torch.sin(17 * x) * torch.cos(23 * y) + torch.sin(19 * z + 3 * x) * torch.cos(29 * x)
    return wave + 3 * (points.norm(dim=-1) - 0.6)


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def open_edges(mesh: Mesh) -> np.ndarray:
    """Vertices of the edges that have not two faces, [E, 2, 3]."""
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return mesh.vertices[unique[count != 2]]


class Counted:
    def __init__(self, field) -> None:
        self.field, self.points, self.largest = field, 0, 0

    def __call__(self, points: Tensor) -> Tensor:
        self.points += len(points)
        self.largest = max(self.largest, len(points))
        return self.field(points)


@pytest.mark.parametrize(("resolution", "block"), [(64, 64), (64, 16), (61, 13), (128, 40)])
def test_a_sphere_is_closed_outward_and_in_place(resolution: int, block: int) -> None:
    mesh = marching_cubes.extract(ball, 1.0, resolution, block)
    assert len(open_edges(mesh)) == 0
    assert surface_metrics.topology_scores(mesh)[0] == {"geometry/components": 1.0, "geometry/genus": 0.0}
    assert volume(mesh) == pytest.approx(4 / 3 * math.pi / 8, rel=5 / resolution**1.5)  # positive: outward
    step = 2 / resolution
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.5).max() < 0.6 * step**2 / 0.5 + 1e-3 * step


def test_blocks_do_not_change_the_mesh() -> None:
    """A ring over many block borders: same vertices, one handle, nothing open."""
    whole = marching_cubes.extract(ring, 1.0, 60, 64)
    for block in (4, 10, 24):
        parts = marching_cubes.extract(ring, 1.0, 60, block)
        assert len(open_edges(parts)) == 0
        assert surface_metrics.topology_scores(parts)[0]["geometry/genus"] == 1.0
        assert len(parts.vertices) == len(whole.vertices)
        np.testing.assert_allclose(
            np.unique(parts.vertices.round(6), axis=0), np.unique(whole.vertices.round(6), axis=0), atol=1e-5
        )
        assert volume(parts) == pytest.approx(volume(whole), rel=1e-6)


def test_ambiguous_cells_are_cut_alike_on_both_sides_of_a_block_border() -> None:
    mesh = marching_cubes.extract(bumps, 1.0, 64, 12)
    assert len(mesh.faces) > 50_000
    left = open_edges(mesh)
    assert len(left)  # the surface leaves the box and is open there, and only there
    on_face = (np.abs(np.abs(left) - 1) < 1e-9).all(axis=1).any(axis=1)
    assert on_face.all()


def test_a_surface_cut_by_the_box_stays_open_there() -> None:
    mesh = marching_cubes.extract(lambda p: p.norm(dim=-1) - 1.2, 1.0, 32, 16)
    left = open_edges(mesh)
    assert len(left)
    assert (np.abs(np.abs(left).max(axis=2) - 1) < 1e-9).all()


def test_few_points_are_evaluated_and_no_batch_exceeds_the_chunk() -> None:
    counted = Counted(ball)
    marching_cubes.extract(counted, 1.0, 128, 32, chunk=5000)
    assert counted.largest <= 5000
    assert counted.points < 0.25 * 129**3


def test_parts_thinner_than_a_tile_are_found() -> None:
    """A sheet of 0.05, a rod of 0.08 and a ball of 0.08 between the corners of tiles 0.125 wide."""

    def sheet(p: Tensor) -> Tensor:
        return torch.stack([(p[:, 2] - 0.06).abs() - 0.025, p[:, :2].abs().amax(-1) - 0.8]).amax(0)

    def rod(p: Tensor) -> Tensor:
        return torch.stack([(p[:, :2] - 0.0625).norm(dim=-1) - 0.04, p[:, 2].abs() - 0.7]).amax(0)

    def speck(p: Tensor) -> Tensor:
        return (p - 0.3125).norm(dim=-1) - 0.04

    def far(p: Tensor) -> Tensor:  # with something else in the box the grid is not searched node by node
        return (p + 0.85).norm(dim=-1) - 0.1

    round_ = (rod, math.pi * 0.0016 * 1.4), (speck, 4 / 3 * math.pi * 0.04**3)
    for field, size in ((sheet, 1.6 * 1.6 * 0.05), *round_):
        mesh = marching_cubes.extract(lambda p, f=field: torch.minimum(f(p), far(p)), 1.0, 64, 32)
        assert len(open_edges(mesh)) == 0
        assert surface_metrics.topology_scores(mesh)[0]["geometry/components"] == 2.0
        there = (mesh.vertices[mesh.faces].sum(axis=2) < -1.8).any(axis=1)  # faces of the far ball
        part = Mesh(mesh.vertices, mesh.faces[~there])
        assert volume(part) == pytest.approx(size, rel=0.5)  # a cell is 0.031: round parts lose volume


@pytest.mark.parametrize("block", [8, 24, 64])
def test_surface_is_followed_from_tile_to_tile(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the slope test only tiles whose corners differ start; the rest is reached from them."""
    whole = marching_cubes.extract(ring, 1.0, 62, block)
    monkeypatch.setattr(marching_cubes, "MARGIN", 0.0)
    followed = marching_cubes.extract(ring, 1.0, 62, block)
    np.testing.assert_array_equal(followed.vertices, whole.vertices)
    np.testing.assert_array_equal(followed.faces, whole.faces)


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_density_with_a_thin_arm_is_followed_to_its_end(way: int, sign: int) -> None:
    """Constant outside (no hint of a near surface): the arm is found from the body, whatever the blocks' order.

    With the other sign it is a tunnel in a solid.
    """
    tile = 2.0 * marching_cubes.COARSE / 128  # the arm touches no corner of a tile

    def density(p: Tensor) -> Tensor:
        x = way * p[:, 0]
        body = (p + torch.tensor([0.5 * way, 0, 0])).norm(dim=-1) < 0.3
        arm = ((p[:, 1:] - tile / 2).norm(dim=-1) < 0.4 * tile) & (x > -0.5) & (x < 0.9)
        return sign * (0.05 - 0.5 * (body | arm).float())

    mesh = marching_cubes.extract(density, 1.0, 128, 32)
    assert len(open_edges(mesh)) == 0
    assert (way * mesh.vertices[:, 0]).max() > 0.88
    assert surface_metrics.topology_scores(mesh)[0]["geometry/components"] == 1.0


def test_a_speck_in_a_flat_field_is_found_when_nothing_else_is_there() -> None:
    def speck(p: Tensor) -> Tensor:
        return 1.0 - 2.0 * ((p - 0.3125).norm(dim=-1) < 0.04).float()

    assert len(marching_cubes.extract(speck, 1.0, 64, 32).faces) > 0


def test_level_and_bounds() -> None:
    mesh = marching_cubes.extract(ball, 1.0, 64, 32, level=0.2)
    assert np.linalg.norm(mesh.vertices, axis=1).mean() == pytest.approx(0.7, abs=2e-3)
    half = marching_cubes.extract(ball, 1.0, 60, 16, bounds=((-0.6, -0.6, 0.0), (0.6, 0.6, 0.61)))
    assert half.vertices[:, 2].min() == pytest.approx(0, abs=1e-9)
    assert half.vertices[:, 2].max() == pytest.approx(0.5, abs=1e-3)
    assert (np.abs(open_edges(half)[..., 2]) < 1e-9).all()


def test_values_exactly_at_the_level_give_a_closed_mesh_without_coinciding_vertices() -> None:
    mesh = marching_cubes.extract(
        lambda p: p.abs().amax(-1) - 0.5, 1.0, 16, 8
    )  # faces of the box on grid nodes
    assert len(open_edges(mesh)) == 0
    assert len(np.unique(mesh.vertices, axis=0)) == len(mesh.vertices)
    assert volume(mesh) == pytest.approx(1.0, rel=0.1)  # its edges are cut


def test_an_empty_level_set_names_the_range_of_the_field() -> None:
    text = (
        r"^no surface at level 0: the field spans \[0\.5, 2\.232\] over the box \[-1\.0, -1\.0, -1\.0\] to "
        r"\[1\.0, 1\.0, 1\.0\]; set export\.level inside that range, or train longer$"
    )
    with pytest.raises(ValueError, match=text):
        marching_cubes.extract(lambda p: p.norm(dim=-1) + 0.5, 1.0, 16, 8)


def test_a_field_that_is_not_finite_says_where() -> None:
    def broken(p: Tensor) -> Tensor:
        return torch.where((p[:, 0] > 0.4) & (p[:, 1] > 0.9), torch.nan, ball(p))

    with pytest.raises(
        ValueError, match=r"the field is not finite at \d+ of \d+ points, first at normalised \(0\.5, 1"
    ):
        marching_cubes.extract(broken, 1.0, 16, 8)


@pytest.mark.parametrize("resolution", [1, 2, 5])
def test_a_plane_in_the_smallest_grids(resolution: int) -> None:
    mesh = marching_cubes.extract(lambda p: p[:, 0] - 0.1, 1.0, resolution, 1)
    np.testing.assert_allclose(mesh.vertices[:, 0], 0.1, atol=1e-5)
    corners = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    assert area.sum() == pytest.approx(4.0, rel=1e-5)


def test_sizes_that_make_no_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="found resolution 8, block 0"):
        marching_cubes.extract(ball, 1.0, 8, 0)
    with pytest.raises(ValueError, match="at least 1 cell and a box with a volume; found resolution 0"):
        marching_cubes.extract(ball, 1.0, 0)
    with pytest.raises(ValueError, match="a box with a volume"):
        marching_cubes.extract(ball, 1.0, 8, bounds=((0, 0, 0), (1, 0, 1)))


def test_an_interrupt_is_answered_between_chunks() -> None:
    heard = interrupts.listen()
    asked: list[int] = []

    def field(points: Tensor) -> Tensor:
        asked.append(len(points))
        heard.signal = signal.SIGINT
        return ball(points)

    with pytest.raises(RunPreempted, match="SIGINT"):
        marching_cubes.extract(field, 1.0, 16, chunk=10)
    interrupts.listen()
    assert asked == [10]


def test_the_inside_of_a_solid_is_not_evaluated() -> None:
    """Tiles deep inside are as far from the surface as those far outside: a third of the nodes is near it."""
    counted = Counted(lambda p: p.norm(dim=-1) - 0.9)
    marching_cubes.extract(counted, 1.0, 128, 32)
    assert counted.points < 0.4 * 129**3


@pytest.mark.parametrize("block", [4, 8])
def test_a_plane_through_the_whole_box_has_one_vertex_on_each_edge_it_crosses(block: int) -> None:
    """On the box's opposite sides, too, where a wrong number of an edge would weld what is far apart."""
    for axis in range(3):
        mesh = marching_cubes.extract(lambda p, axis=axis: p[:, axis] - 0.03, 1.0, 8, block)
        assert len(mesh.vertices) == 9 * 9
        assert len(mesh.faces) == 2 * 8 * 8
        corners = mesh.vertices[mesh.faces]
        assert np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1).max() < 0.5  # a cell is 0.25


@pytest.mark.parametrize("sign", [1, -1])
def test_a_wall_exactly_on_nodes_keeps_its_vertices_off_them(sign: int) -> None:
    mesh = marching_cubes.extract(lambda p: sign * (p[:, 0] - 0.5), 1.0, 8, 8)
    off = np.abs(mesh.vertices[:, 0] - 0.5)
    assert (off > 0).all()
    assert off.max() < 0.01
