"""The occupancy grid: which cells are probed where, what is remembered, and how rays march."""

import math

import pytest
import torch

from isosweep import ops
from isosweep.samplers.base import Probe, density_alpha, sample_points
from isosweep.samplers.occupancy import OccupancyGrid
from isosweep.types import Rays


def make_grid(**settings) -> OccupancyGrid:
    return OccupancyGrid(**{"resolution": 4, "update_every": 1, "warmup": 4, **settings})


def refresh(grid: OccupancyGrid, step: int, occupancy, seed: int = 0) -> None:
    grid.update(step, occupancy, torch.Generator().manual_seed(seed))


def sampled(
    grid: OccupancyGrid, x: list[float], step: float = 0.1, seed: int | None = None, far: float = 4.0
):
    """Samples on rays along +z from z = -3 at the given x, inside [-1, 1]."""
    o = torch.tensor([[v, 0.1, -3.0] for v in x]).reshape(-1, 3)
    rays = Rays(o, torch.tensor([[0.0, 0.0, 1.0]]).expand(len(x), 3), torch.zeros(len(x), 3))
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    near = torch.full((len(x),), 2.0)
    return grid.sample(rays, near, torch.full_like(near, far), step, Probe(), generator).samples


class Asked:
    """An occupancy that keeps the points and the side it was asked for."""

    def __init__(self, value: float = 1.0) -> None:
        self.value, self.points, self.side = value, torch.zeros(0, 3), 0.0

    def __call__(self, points, side):
        self.points, self.side = torch.cat([self.points, points]), side
        return torch.full((len(points),), self.value)


def cells_of(points: torch.Tensor, radius: float, resolution: int) -> torch.Tensor:
    corner = ((points / radius + 1) / 2 * resolution).floor().long()
    return corner[:, 0] + resolution * corner[:, 1] + resolution**2 * corner[:, 2]


def test_while_warming_up_every_cell_is_probed_once_at_a_random_point_inside():
    grid, asked = make_grid(radius=2.0), Asked()
    refresh(grid, 0, asked)
    assert asked.side == 1.0
    assert cells_of(asked.points, 2.0, 4).tolist() == list(range(64))
    inside = (asked.points / 2 + 1) * 2 % 1
    assert inside.min() < 0.1
    assert inside.max() > 0.9
    again = Asked()
    refresh(grid, 3, again, seed=1)
    assert len(again.points) == 64
    assert not torch.equal(asked.points, again.points)


@pytest.mark.parametrize(("share", "count"), [(0.25, 16), (0.001, 1)])
def test_afterwards_a_share_of_them(share, count):
    grid, asked = make_grid(share=share), Asked()
    refresh(grid, 4, asked)
    assert len(asked.points) == count
    touched = set(cells_of(asked.points, 1.0, 4).tolist())
    assert {int(k) for k in torch.nonzero(grid.values)[:, 0]} == touched


def test_only_what_was_probed_decays_and_the_larger_value_stays():
    grid = make_grid(decay=0.5, share=0.25)
    grid.values = torch.full((64,), 0.8)
    asked = Asked(0.3)
    refresh(grid, 4, asked)
    touched = torch.zeros(64, dtype=torch.bool)
    touched[cells_of(asked.points, 1.0, 4)] = True
    torch.testing.assert_close(grid.values[touched], torch.full((int(touched.sum()),), 0.4))
    torch.testing.assert_close(grid.values[~touched], torch.full((int((~touched).sum()),), 0.8))
    refresh(grid, 0, Asked(0.45))
    assert float(grid.values.min()) == pytest.approx(0.45)


def test_a_cell_drawn_twice_keeps_its_larger_value():
    grid = OccupancyGrid(resolution=1, update_every=1, warmup=0, share=8.0)
    refresh(grid, 0, lambda p, side: torch.linspace(0, 0.7, 8).flip(0))
    assert grid.values.tolist() == [pytest.approx(0.7)]


def test_cells_are_indexed_z_y_x():
    grid = make_grid()
    # x is in the third quarter, y in the first, z in the last
    refresh(
        grid,
        0,
        lambda p, side: ((p[:, 0].sub(0.25).abs() < 0.25) & (p[:, 1] < -0.5) & (p[:, 2] > 0.5)).float(),
    )
    assert torch.nonzero(grid.occupied).tolist() == [[3, 0, 2]]


def test_the_threshold_is_the_smaller_of_the_mean_and_the_given():
    grid = make_grid(threshold=0.3)
    refresh(grid, 0, lambda p, side: torch.where(p[:, 0] > 0, 0.9, 0.4))
    assert grid.occupied.all()  # below the mean of 0.65, yet above the threshold
    grid = make_grid(threshold=0.3)
    refresh(grid, 0, lambda p, side: torch.where(p[:, 0] > 0, 0.2, 0.01))
    assert grid.occupied[:, :, 2:].all()  # below the threshold, yet above the mean
    assert not grid.occupied[:, :, :2].any()


def test_updates_come_at_every_so_many_steps():
    grid, asked = make_grid(update_every=3, warmup=100), Asked()
    for step, total in ((0, 64), (1, 64), (2, 64), (3, 128), (4, 128), (6, 192)):
        refresh(grid, step, asked)
        assert len(asked.points) == total, step


def test_a_ray_marches_in_steps_of_the_given_length_through_occupied_cells_only():
    grid = make_grid()
    grid.occupied.zero_()
    grid.occupied[1, 2, 3] = True  # z in [-0.5, 0], y in [0, 0.5], x in [0.5, 1]
    found = sampled(grid, [0.75, 0.25], step=0.125)
    assert found.offsets.tolist() == [0, 4, 4]
    torch.testing.assert_close(found.dt, torch.full((4,), 0.125))
    torch.testing.assert_close(found.t, torch.tensor([2.5625, 2.6875, 2.8125, 2.9375]))


def test_the_first_section_is_shifted_at_random_where_a_generator_is_given():
    a, b = sampled(make_grid(), [0.5], seed=0), sampled(make_grid(), [0.5], seed=1)
    assert float(a.t[0]) != float(b.t[0])
    middle = sampled(make_grid(), [0.5])
    torch.testing.assert_close(middle.t[0], torch.tensor(2.05))


def test_a_ray_has_no_more_than_its_share_of_samples():
    assert len(sampled(make_grid(max_samples=7), [0.5, 0.2])) == 14


def test_a_batch_that_meets_nothing_is_rescued_in_as_many_sections_as_asked_for():
    grid = make_grid(rescue_samples=16)
    grid.occupied.zero_()
    found = sampled(grid, [0.5, -0.5], seed=0)
    assert len(found) in (30, 31, 32)  # a shifted first section may push the last one out
    torch.testing.assert_close(found.dt, torch.full_like(found.dt, 2 / 16), atol=1e-6, rtol=0)
    assert len(sampled(grid, [0.5])) == 0
    assert len(sampled(grid, [0.5], seed=0, far=2.0)) == 0
    assert len(sampled(grid, [], seed=0)) == 0


def test_a_short_interval_is_rescued_too():
    grid = make_grid(rescue_samples=4)
    grid.occupied.zero_()
    found = sampled(grid, [0.5], seed=0, far=2.5)  # from the wall of the box half a unit inwards
    assert len(found) > 0


def test_a_batch_that_meets_something_is_not_rescued():
    grid = make_grid()
    grid.occupied.zero_()
    grid.occupied[1, 2, 3] = True
    assert sampled(grid, [0.75, 0.25], step=0.125, seed=0).ray_index.unique().tolist() == [0]


def test_a_fresh_grid_is_full():
    grid = OccupancyGrid(resolution=3)
    assert grid.occupied.all()
    assert float(grid.values.abs().max()) == 0
    assert math.isclose(grid.resolution**3, len(grid.values))


def stopped(early_stop: float, density, x: list[float]):
    o = torch.tensor([[v, 0.1, -3.0] for v in x]).reshape(-1, 3)
    rays = Rays(o, torch.tensor([[0.0, 0.0, 1.0]]).expand(len(x), 3), torch.zeros(len(x), 3))
    near = torch.full((len(x),), 2.0)
    grid = make_grid(early_stop=early_stop)
    return grid.sample(rays, near, near + 2.0, 0.1, Probe(density=density), None).samples


def test_a_ray_ends_where_it_lets_less_than_the_given_share_through():
    """Density 5 from z = 0: after k sections of 0.1 the transmittance is exp(-k / 2), below 0.3 from k = 3."""

    def fog_on_the_left(points):
        assert not torch.is_grad_enabled()
        return 5.0 * ((points[:, 2] > 0) & (points[:, 0] < 0)).float()

    samples = stopped(0.3, fog_on_the_left, [-0.5, 0.5, -0.7])
    whole = stopped(0.0, fog_on_the_left, [-0.5, 0.5, -0.7])
    assert whole.offsets.tolist() == [0, 20, 40, 60]
    assert samples.offsets.tolist() == [0, 13, 33, 46]
    kept = torch.cat([torch.arange(13), torch.arange(20, 40), torch.arange(40, 53)])
    for name in ("ray_index", "t", "dt"):
        assert torch.equal(getattr(samples, name), getattr(whole, name)[kept])


def test_a_surface_model_has_no_early_end():
    grid = make_grid(early_stop=0.5)
    rays = Rays(torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, 3))
    level = Probe(level=lambda points: torch.full((len(points),), -9.0))
    assert len(grid.sample(rays, torch.tensor([2.0]), torch.tensor([4.0]), 0.1, level, None).samples) == 20


def test_with_a_cone_sections_grow_with_the_distance():
    samples = sampled(make_grid(cone=0.1), [0.0], step=0.25)
    assert samples.dt.tolist() == pytest.approx(
        [0.25, 0.25, 0.25, 0.275, 0.3025, 0.33275, 0.366025], abs=1e-5
    )
    assert float(samples.t[0] - 0.5 * samples.dt[0]) == pytest.approx(2.0)
    assert torch.allclose(samples.t.diff(), (samples.dt[1:] + samples.dt[:-1]) / 2)


@pytest.mark.parametrize(
    ("samples", "count"), [(0, 32), (1000, 32), (40, 20), (1, 1)], ids=["unbound", "rich", "poor", "one"]
)
def test_an_update_costs_no_more_than_its_part_of_the_samples(samples, count):
    grid, asked = make_grid(share=0.5, samples_per_probe=2.0), Asked()
    grid.update(4, asked, torch.Generator().manual_seed(0), samples)
    assert len(asked.points) == count


def test_half_of_the_draws_are_among_occupied_cells():
    grid, asked = make_grid(resolution=16, share=0.25, threshold=0.1), Asked(0.0)
    grid.values[[5, 77, 4000]] = 1.0
    grid.occupied = (grid.values > 0.5).reshape(16, 16, 16)
    refresh(grid, 4, asked)
    drawn = torch.bincount(cells_of(asked.points, 1.0, 16), minlength=16**3)
    assert len(asked.points) == 1024
    assert int(drawn[[5, 77, 4000]].sum()) >= 512
    assert (drawn[[5, 77, 4000]] > 120).all()  # 171 each, give or take 11
    assert (drawn > 0).sum() > 400  # the other half goes everywhere


def test_without_an_occupied_cell_all_draws_are_still_inside():
    grid, asked = make_grid(share=1.0), Asked()
    grid.occupied = torch.zeros_like(grid.occupied)
    refresh(grid, 4, asked)
    assert len(asked.points) == 64
    assert asked.points.abs().max() <= 1.0


def test_rays_followed_from_the_camera_end_where_all_samples_at_once_end_them():
    generator = torch.Generator().manual_seed(2)
    o = torch.rand(50, 3, generator=generator) - torch.tensor([0.5, 0.5, 3.0])
    rays = Rays(o, torch.tensor([[0.0, 0.0, 1.0]]).expand(50, 3), torch.zeros(50, 3))
    near = torch.full((50,), 2.0)
    far = near + 2 * torch.rand(50, generator=generator)

    def fog(points):
        return 20 * torch.sin(9 * points.sum(-1)).clamp_min(0)

    grid = make_grid(early_stop=1e-2)
    found = grid.sample(rays, near, far, 0.02, Probe(density=fog), None).samples
    whole = make_grid().sample(rays, near, far, 0.02, Probe(), None).samples
    alpha = density_alpha(fog(sample_points(rays, whole)[0]), whole)
    kept = ops.visible(alpha, whole.offsets, 1e-2)
    assert 0.2 < float(kept.float().mean()) < 0.9
    assert torch.equal(found.t, whole.t[kept])
    assert torch.equal(found.ray_index, whole.ray_index[kept])
    assert found.offsets.tolist() == [0, *whole.ray_index[kept].bincount(minlength=50).cumsum(0).tolist()]
