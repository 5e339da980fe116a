"""One field for all of space: where it is sampled and what it composites."""

import math

import pytest
import torch
from torch import nn

from isosweep.encodings.frequency import Frequency
from isosweep.errors import InputError
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.fields.shading import Shade
from isosweep.models.nerf_unbounded import NeRFUnbounded
from isosweep.models.space import ContractedBall, InvertedSphere
from isosweep.samplers.hierarchical import UpSample
from isosweep.samplers.occupancy import OccupancyGrid
from isosweep.samplers.proposal import Proposal, Round
from isosweep.samplers.uniform import Uniform
from isosweep.types import Rays


class Fog(nn.Module):
    """The same density everywhere; remembers what it was asked."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.encoding, self.sigma = Frequency(2, anneal_until=1.0), nn.Parameter(torch.tensor(sigma))
        self.u, self.window = torch.zeros(0), None

    def forward(self, u, window=None):
        self.u, self.window = u, window
        return self.sigma.expand(len(u)), torch.zeros(len(u), 4)


class Red(nn.Module):
    points = torch.zeros(0)

    def forward(self, feature, dirs, unit_points=None, normals=None, ray_index=None, views=None):
        self.points = unit_points
        return Shade(torch.tensor([1.0, 0.0, 0.0]).expand(len(feature), 3))


def made(sampler=None, sigma: float = 0.1, **settings) -> NeRFUnbounded:
    sampler = sampler or Uniform(4, spacing="piecewise")
    model = NeRFUnbounded(DensityField(Frequency(2), 4), ColorField(16, hidden_dim=4), sampler, **settings)
    model.density, model.color_field = Fog(sigma), Red()
    return model


def rays(near: torch.Tensor | None = None) -> Rays:
    background = torch.tensor([[0.0, 0.0, 1.0]])
    return Rays(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]), background, near=near)


def render(model: NeRFUnbounded, of: Rays):
    return model(of, model.knobs(5, 10), frozenset())


def test_a_ray_is_sampled_from_near_to_far_and_read_in_contracted_space():
    model = made(radius=2.0, near=0.5, far=4.0)
    out = render(model, rays())
    low, high = out.samples.t - out.samples.dt / 2, out.samples.t + out.samples.dt / 2
    # g rises evenly from 1/4 to 7/8: t = 0.5, 0.8125, then 1 / (2 - 2 g) = 1.1429, 1.7778, 4
    torch.testing.assert_close(low, torch.tensor([0.5, 0.8125, 1.142857, 1.777778]))
    assert float(high[-1]) == pytest.approx(4.0)
    z = out.samples.t / 2  # in units of the box: 1.44 at the last one, contracted to 2 - 1 / 1.44
    last = 2 - 1 / float(z[-1])
    expected = torch.cat([z[:3], torch.tensor([last])]) / 4 + 0.5
    torch.testing.assert_close(model.density.u[:, 2], expected)
    torch.testing.assert_close(model.density.u[:, :2], torch.full((4, 2), 0.5))
    torch.testing.assert_close(model.color_field.points, 2 * model.density.u - 1)
    window = model.density.encoding.window(5, 10)
    assert window is not None
    torch.testing.assert_close(model.density.window, window)


def test_an_opaque_end_takes_what_is_left_and_an_open_one_leaves_it_to_the_rays_own_background():
    through = math.exp(-0.1 * 3.5)
    opened = render(made(near=0.5, far=4.0, opaque=False), rays())
    torch.testing.assert_close(opened.rgb.detach(), torch.tensor([[1 - through, 0.0, through]]))
    closed = render(made(near=0.5, far=4.0), rays())
    torch.testing.assert_close(closed.rgb.detach(), torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(closed.opacity.detach(), torch.ones(1))


def test_it_begins_where_its_ray_may_meet_something():
    out = render(made(near=0.5, far=4.0), rays(torch.tensor([2.0])))
    assert float(out.samples.t[0] - out.samples.dt[0] / 2) == pytest.approx(2.0)
    out = render(made(near=0.5, far=4.0, near_of_rays=False), rays(torch.tensor([2.0])))
    assert float(out.samples.t[0] - out.samples.dt[0] / 2) == pytest.approx(0.5)
    out = render(made(near=0.5, far=4.0), rays(torch.tensor([0.1])))
    assert float(out.samples.t[0] - out.samples.dt[0] / 2) == pytest.approx(0.5)


def test_gradients_of_near_samples_are_scaled():
    slopes = []
    for scaled in (False, True):
        model = made(Uniform(1), near=0.2, far=0.6, opaque=False, near_scaling=scaled)
        render(model, rays()).rgb[0, 0].backward()
        slopes.append(float(model.density.sigma.grad))
    assert slopes[1] == pytest.approx(0.4**2 * slopes[0])


def test_its_level_and_colour_are_those_of_the_contracted_point():
    model = made(sigma=0.5, surface_density=5.0)
    far = torch.tensor([[0.0, 0.0, 4.0]])
    torch.testing.assert_close(model.level(far, model.knobs(5, 10)), torch.tensor([math.log(10)]))
    torch.testing.assert_close(model.density.u, torch.tensor([[0.5, 0.5, 0.5 + 1.75 / 4]]))
    window = model.density.encoding.window(5, 10)
    torch.testing.assert_close(model.density.window, window)
    model.density.window = None
    assert model.color(far, torch.tensor([[0.0, 0.0, 1.0]]), model.knobs(5, 10)).tolist() == [[1.0, 0.0, 0.0]]
    torch.testing.assert_close(model.density.window, window)
    torch.testing.assert_close(model.color_field.points, torch.tensor([[0.0, 0.0, 1.75 / 2]]))


def test_proposals_see_the_same_coordinates_and_their_rounds_are_levels():
    proposal = Fog(0.2)
    model = made(Proposal({"first": Round(proposal, 8)}, 4, spacing="piecewise"), space=ContractedBall())
    out = render(model, rays())
    t = out.levels["proposal_0"].samples.t
    expected = torch.where(t > 1, 2 - 1 / t, t) / 4 + 0.5
    torch.testing.assert_close(proposal.u[:, 2], expected)
    assert {"levels.proposal_0.weights", "levels.proposal_0.samples"} <= model.provides
    assert model.knobs(0, 10).sampling.box is not None
    assert out.n_samples == 12


def test_in_a_space_of_four_coordinates_the_colour_reads_three():
    """At distances of 2 along z: (0, 0, 1, 1 / 2), of which the direction."""
    fields = DensityField(Frequency(2, in_dim=4), 4), ColorField(16, hidden_dim=4)
    model = NeRFUnbounded(*fields, Uniform(1), InvertedSphere(), near=1.0, far=3.0)
    model.color_field = Red()
    render(model, rays())
    torch.testing.assert_close(model.color_field.points, torch.tensor([[0.0, 0.0, 1.0]]))
    model.color(torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]]), model.knobs(5, 10))
    torch.testing.assert_close(model.color_field.points, torch.tensor([[0.0, 1.0, 0.0]]))


def test_what_is_refused():
    fields = DensityField(Frequency(2), 4), ColorField(16, hidden_dim=4)
    with pytest.raises(InputError, match="sampler 'OccupancyGrid' knows a box alone: use sampler=proposal"):
        NeRFUnbounded(*fields, OccupancyGrid(resolution=8))
    with pytest.raises(InputError, match="needs a field with a level"):
        NeRFUnbounded(*fields, UpSample())
    with pytest.raises(InputError, match="InvertedSphere has 4 coordinates"):
        NeRFUnbounded(*fields, Uniform(4), InvertedSphere())
