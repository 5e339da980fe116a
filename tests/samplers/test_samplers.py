import pytest
import torch

from isosweep.samplers.base import Probe
from isosweep.samplers.hierarchical import UpSample, invert_cdf
from isosweep.samplers.occupancy import OccupancyGrid
from isosweep.samplers.uniform import Uniform, stratified_edges
from isosweep.types import Rays


def rays(n: int) -> Rays:
    return Rays(torch.tensor([[0.0, 0.0, -3.0]] * n), torch.tensor([[0.0, 0.0, 1.0]] * n), torch.zeros(n, 3))


def test_uniform_sections_tile_the_interval_and_skip_missing_rays():
    near, far = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 2.0, 0.0])
    s = Uniform(4).sample(rays(3), near, far, 0.1, Probe(), None).samples
    torch.testing.assert_close(s.t, torch.tensor([1.25, 1.75, 2.25, 2.75]))
    torch.testing.assert_close(s.dt, torch.full((4,), 0.5))
    assert s.offsets.tolist() == [0, 4, 4, 4]
    jittered = stratified_edges(near, far, 8, torch.Generator().manual_seed(0))
    assert (jittered.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(jittered[0, [0, -1]], torch.tensor([1.0, 3.0]))


def test_edges_have_the_precision_of_the_interval():
    near, far = torch.zeros(1, dtype=torch.float64), torch.full((1,), 3.0, dtype=torch.float64)
    expected = torch.linspace(0, 3, 8, dtype=torch.float64)[None]
    torch.testing.assert_close(stratified_edges(near, far, 7, None), expected, rtol=1e-15, atol=0)


def test_a_sampler_without_memory_is_a_module_without_state():
    assert Uniform(4).to("cpu").state_dict() == {}


def test_inverse_cdf_puts_samples_where_the_weight_is():
    edges = torch.linspace(0, 1, 5)[None]
    t = invert_cdf(edges, torch.tensor([[0.0, 0.0, 1.0, 0.0]]), 100, None)
    assert ((t > 0.5) & (t < 0.75)).float().mean() > 0.98
    even = invert_cdf(edges, torch.ones(1, 4), 4, None)
    torch.testing.assert_close(even, torch.tensor([[0.125, 0.375, 0.625, 0.875]]), atol=1e-4, rtol=0)


def test_up_sampling_gathers_at_the_surface():
    sampler = UpSample(32, 64, 4)
    s = sampler.sample(
        rays(2), torch.full((2,), 2.0), torch.full((2,), 4.0), 0.1, Probe(level=lambda p: 0.2 - p[:, 2]), None
    ).samples
    assert len(s) == 2 * (32 + 64)
    near = ((s.t - 3.2).abs() < 0.05).float().mean()
    assert near > 0.4
    assert (s.dt >= 0).all()


def test_up_sampling_needs_whole_rounds():
    with pytest.raises(ValueError, match="multiple of rounds"):
        UpSample(64, 65, 4)


def test_the_grid_remembers_decays_and_keeps_to_its_schedule():
    grid = OccupancyGrid(resolution=4, update_every=2, warmup=4, decay=0.5, threshold=0.3, share=1.0)
    generator = torch.Generator().manual_seed(0)
    grid.update(0, lambda p, cell: (p[:, 0] > 0).float(), generator)
    assert grid.occupied[:, :, 2:].all()
    assert not grid.occupied[:, :, :2].any()
    grid.update(1, lambda p, cell: torch.ones(len(p)), generator)  # not due
    assert not grid.occupied[:, :, :2].any()
    grid.update(2, lambda p, cell: torch.zeros(len(p)), generator)
    assert float(grid.values.max()) == 0.5
    for step in (4, 6, 8, 10, 12, 14):
        grid.update(step, lambda p, cell: torch.full((len(p),), 0.01) * (p[:, 0] > 0), generator)
    assert grid.occupied[:, :, 2:].any()  # below the threshold, yet above the mean


def test_the_grid_is_part_of_the_state():
    assert {"values", "occupied"} <= set(OccupancyGrid(resolution=4).state_dict())
