"""The crossing of rays with the plane of a picture, by hand."""

import torch
from torch.nn import functional as F

from isosweep.samplers.base import Probe
from isosweep.samplers.plane import Plane
from isosweep.types import Rays


def test_a_ray_has_one_section_where_it_crosses_the_plane_and_none_elsewhere() -> None:
    """Distances of 4; behind the origin; past far; 5 along (3, 0, 4) / 5; before near; along the plane; in it."""
    origins = torch.tensor(
        [[0.0, 0, -4], [0, 0, 4], [0, 0, -9], [1, 2, -4], [0, 0, -1], [0, 0, -4], [0, 0, 0]]
    )
    dirs = torch.tensor([[0.0, 0, 1], [0, 0, 1], [0, 0, 1], [3, 0, 4], [0, 0, 1], [1, 0, 0], [1, 0, 0]])
    rays = Rays(origins, F.normalize(dirs, dim=-1), torch.zeros(7, 3))
    near, far = torch.full((7,), 2.0), torch.full((7,), 8.0)
    found = Plane().sample(rays, near, far, 0.25, Probe(), None)
    assert found.samples.ray_index.tolist() == [0, 3]
    torch.testing.assert_close(found.samples.t, torch.tensor([4.0, 5.0]))
    assert found.samples.dt.tolist() == [0.25, 0.25]
    assert found.samples.offsets.tolist() == [0, 1, 1, 1, 2, 2, 2, 2]
    assert not found.levels


def test_the_ends_of_a_ray_are_no_part_of_it() -> None:
    rays = Rays(torch.tensor([[0.0, 0, -4]] * 2), torch.tensor([[0.0, 0, 1]] * 2), torch.zeros(2, 3))
    found = Plane().sample(rays, torch.tensor([4.0, 1.0]), torch.tensor([8.0, 4.0]), 0.25, Probe(), None)
    assert found.samples.offsets.tolist() == [0, 0, 0]
