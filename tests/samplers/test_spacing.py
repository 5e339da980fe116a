"""Where edges lie between the ends of a ray, by hand and by brute force."""

import math

import pytest
import torch

from isosweep.errors import InputError
from isosweep.samplers.spacing import SPACINGS, check_spacing, distances, inverse_radii, warp
from isosweep.types import Rays

HALVES = torch.tensor([[0.0, 0.5, 1.0]])


@pytest.mark.parametrize(
    ("spacing", "near", "far", "middle"),
    [
        ("linear", 0.5, 4.0, 2.25),
        ("disparity", 0.5, 4.0, 1 / 1.125),
        ("geometric", 0.5, 4.0, math.sqrt(2)),
        ("piecewise", 0.5, 4.0, 1 / (2 - (0.25 + 0.875))),  # g = 0.5625, behind t = 1
        ("piecewise", 0.1, 2.0, 0.8),  # g = (0.05 + 0.75) / 2 = 0.4, before it
        ("piecewise", 0.2, 0.6, 0.4),
        ("piecewise", 2.0, 4.0, 1 / 0.375),
    ],
)
def test_the_middle_place_by_hand(spacing, near, far, middle):
    found = distances(spacing, HALVES, torch.tensor([near]), torch.tensor([far]))
    torch.testing.assert_close(found, torch.tensor([[near, middle, far]]))


@pytest.mark.parametrize("spacing", SPACINGS)
def test_edges_never_fall_and_an_empty_interval_stays_at_its_near_end(spacing):
    place = torch.linspace(0, 1, 50).expand(3, -1)
    found = distances(spacing, place, torch.tensor([0.05, 1.0, 3.0]), torch.tensor([1e3, 1.5, 0.0]))
    assert bool((found.diff(dim=-1)[:2] > 0).all())
    torch.testing.assert_close(found[2], torch.full((50,), 3.0))
    assert torch.isfinite(found).all()


def test_another_spacing_is_refused():
    with pytest.raises(InputError, match=r"sampler.spacing is one of linear, disparity, .* found 'log'"):
        check_spacing("log")


def test_inverse_radii_are_even_in_the_inverse_distance_from_the_origin():
    """The ray (t, 2, 0) from t = 0 to |x| = 4: 1 / |x| of 0.5, 0.375, 0.25."""
    rays = Rays(torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1, 3))
    found = inverse_radii(rays, HALVES, torch.tensor([0.0]), torch.tensor([math.sqrt(12)]))
    expected = [0.0, math.sqrt((8 / 3) ** 2 - 4), math.sqrt(12)]
    torch.testing.assert_close(found, torch.tensor([expected]), atol=1e-3, rtol=1e-5)


def test_a_ray_that_first_comes_nearer_is_spaced_there_and_back():
    """From (-3, 2, 0) along x. The changes of 1 / |x| along short steps add up to the same between all edges."""
    rays = Rays(torch.tensor([[-3.0, 2.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1, 3))
    place = torch.linspace(0, 1, 8)[None]
    edges = inverse_radii(rays, place, torch.tensor([0.5]), torch.tensor([50.0]))[0].double()
    torch.testing.assert_close(
        edges[[0, -1]], torch.tensor([0.5, 50.0], dtype=torch.float64), rtol=1e-4, atol=0
    )
    t = torch.linspace(0.5, 50, 400001, dtype=torch.float64)
    change = (1 / torch.hypot(t - 3, torch.tensor(2.0, dtype=torch.float64))).diff().abs()
    run = torch.cat([torch.zeros(1, dtype=torch.float64), change.cumsum(0)])
    at = run[torch.searchsorted(t, edges).clamp(max=len(t) - 1)] / run[-1]
    torch.testing.assert_close(at, place[0].double(), atol=2e-4, rtol=0)


def test_rays_are_spaced_each_by_itself():
    """The two rays above together with one that leads away from the origin: 1 / |x| of 1, 0.625, 0.25."""
    origins = torch.tensor([[0.0, 2.0, 0.0], [-3.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    dirs = torch.tensor([[1.0, 0.0, 0.0]]).repeat(3, 1)
    near, far, place = (
        torch.tensor([0.0, 0.5, 0.0]),
        torch.tensor([math.sqrt(12), 50.0, 3.0]),
        HALVES.repeat(3, 1),
    )
    found = inverse_radii(Rays(origins, dirs, torch.zeros(3, 3)), place, near, far)
    for k in range(3):
        one = slice(k, k + 1)
        alone = Rays(origins[one], dirs[one], torch.zeros(1, 3))
        torch.testing.assert_close(found[one], inverse_radii(alone, HALVES, near[one], far[one]))
    torch.testing.assert_close(found[2], torch.tensor([0.0, 0.6, 3.0]), atol=1e-5, rtol=0)


def test_edges_of_a_ray_straight_at_the_origin_and_of_one_that_is_nearest_at_an_edge_are_numbers():
    """Both are at the limit of rounding: m is 0, and |x|^2 - m^2 comes out below 0 where an edge is next to b."""
    straight = Rays(torch.tensor([[-3.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1, 3))
    found = inverse_radii(straight, HALVES, torch.tensor([0.5]), torch.tensor([2.0]))[0]
    assert bool(found.isfinite().all())
    assert float(found[0]) >= 0.5
    assert float(found[-1]) == 2.0
    height = torch.linspace(0.5, 2, 400)
    origins = torch.stack([torch.full((400,), -3.0), height, torch.zeros(400)], -1)
    rays = Rays(origins, torch.tensor([[1.0, 0.0, 0.0]]).repeat(400, 1), torch.zeros(400, 3))
    found = inverse_radii(rays, HALVES.repeat(400, 1), torch.full((400,), 1.0), torch.full((400,), 5.0))
    # from 2 before b to 2 behind it, so the middle is at b
    torch.testing.assert_close(found[:, 1], torch.full((400,), 3.0), atol=5e-3, rtol=0)
    assert float(found.min()) >= 1.0
    far = inverse_radii(rays, HALVES.repeat(400, 1), torch.full((400,), 1.0), torch.full((400,), 1e3))
    assert float(far.max()) <= 1e3


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("linear", [0.5, 1.0, 4.0]),
        ("disparity", [-2.0, -1.0, -0.25]),
        ("geometric", [-math.log(2), 0.0, math.log(4)]),
        ("piecewise", [0.25, 0.5, 0.875]),
    ],
)
def test_the_warp_by_hand_is_even_where_the_distances_of_even_places_are(spacing, expected):
    t = torch.tensor([0.5, 1.0, 4.0])
    torch.testing.assert_close(warp(spacing, t), torch.tensor(expected))
    even = warp(spacing, distances(spacing, HALVES, t[:1], t[2:]))
    torch.testing.assert_close(2 * even[:, 1], even[:, 0] + even[:, 2])
