"""Proposal networks: what places the next round, who learns when, and what is refused."""

import itertools
import math

import pytest
import torch
from torch import nn

from isosweep.errors import InputError
from isosweep.samplers.base import Probe
from isosweep.samplers.proposal import Proposal, ProposalKnobs, Round, drawn_edges
from isosweep.types import Rays, RowsOf


class Slab(nn.Module):
    """Density ``sigma`` for z between 1 and 1.5, and none elsewhere; one parameter."""

    def __init__(self, sigma: float = 20.0) -> None:
        super().__init__()
        self.sigma = nn.Parameter(torch.tensor(sigma))
        self.u = torch.zeros(0)

    def forward(self, u, window):
        self.u = u
        z = 8 * u[:, 2] - 4
        return self.sigma * ((z > 1) & (z < 1.5)), torch.zeros(len(u), 1)


def unit(points):
    return points / 8 + 0.5


def along_z(n: int = 1) -> Rays:
    dirs = torch.tensor([[0.0, 0.0, 1.0]]).repeat(n, 1)
    return Rays(torch.zeros(n, 3), dirs, torch.zeros(n, 3))


def sampled(sampler: Proposal, n: int = 1, knobs=None, generator=None, far: float = 4.0):
    probe = Probe(unit=unit, knobs=knobs)
    far_ = torch.full((n,), far)
    return sampler.sample(along_z(n), torch.zeros(n), far_, 1.0, probe, generator)


def edges(samples, rays: int = 1) -> torch.Tensor:
    low, high = (samples.t - samples.dt / 2).reshape(rays, -1), (samples.t + samples.dt / 2).reshape(rays, -1)
    return torch.cat([low, high[:, -1:]], -1)


def test_the_final_samples_lie_where_the_proposal_has_found_something():
    sampler = Proposal({"first": Round(Slab(), 32)}, n_samples=16)
    found = sampled(sampler)
    inside = (found.samples.t > 0.85) & (found.samples.t < 1.65)
    assert int(inside.sum()) >= 14
    level = found.levels["proposal_0"]
    # 32 sections of 1/8: four of them are in the slab, and let exp(-20 / 8) through each
    assert len(level.samples) == 32
    through = torch.exp(torch.tensor(-2.5))
    expected = torch.stack([(1 - through) * through**k for k in range(4)])
    torch.testing.assert_close(level.weights[8:12], expected)
    assert float(level.weights.sum().detach()) == pytest.approx(float(expected.sum()))
    assert sampler.levels == {"proposal_0": ("samples", "weights")}


def test_the_last_section_of_a_closed_ray_takes_all_that_is_left():
    sampler = Proposal({"first": Round(Slab(1.0), 32)}, n_samples=16)
    probe = Probe(unit=unit, closed=True)
    found = sampler.sample(along_z(), torch.zeros(1), torch.full((1,), 4.0), 1.0, probe, None)
    weights = found.levels["proposal_0"].weights.detach()
    assert float(weights[-1]) == pytest.approx(math.exp(-0.5), abs=1e-5)
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-5)
    assert int((found.samples.t > 3.8).sum()) >= 8


def test_a_second_round_is_asked_where_the_first_has_found_something():
    sampler = Proposal(
        {"first": Round(Slab(), 32), "none": None, "second": Round(Slab(3.0), 16)}, n_samples=8
    )
    found = sampled(sampler)
    assert list(found.levels) == ["proposal_0", "proposal_1"] == list(sampler.levels)
    second = found.levels["proposal_1"].samples.t
    assert int(((second > 0.85) & (second < 1.65)).sum()) >= 14
    assert len(found.samples) == 8
    # the density is asked in the model's coordinates
    torch.testing.assert_close(sampler.rounds["second"].density.u[:, 2], second / 8 + 0.5)


def test_without_annealing_weights_place_nothing_at_first():
    sampler = Proposal({"first": Round(Slab(), 32)}, n_samples=4)
    even = edges(sampled(sampler, knobs=ProposalKnobs(exponent=0.0)).samples)
    torch.testing.assert_close(even, torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]]), atol=1e-4, rtol=0)


def test_what_depends_on_the_step():
    sampler = Proposal({"first": Round(Slab(), 4)}, anneal_weights_until=0.1, update_every=5, rarer_until=0.5)
    assert [sampler.knobs(step, 1000).exponent for step in (0, 50, 100, 1000)] == pytest.approx(
        [0.0, 5 / 5.5, 1.0, 1.0]
    )
    learns = [step for step in range(1000) if sampler.knobs(step, 1000).learns]
    assert learns[:126] == [*range(125), 126]  # n = 1 until (5 - 1) step / 500 reaches 1
    assert [b - a for a, b in itertools.pairwise(learns)][-5:] == [5] * 5
    assert learns[-1] == 995
    at_once = Proposal({"first": Round(Slab(), 4)}, anneal_weights_until=0.0, update_every=1, rarer_until=0.0)
    assert at_once.knobs(0, 10) == ProposalKnobs(1.0, True)


@pytest.mark.parametrize("learns", [True, False])
def test_a_proposal_has_a_gradient_in_its_steps_only(learns):
    sampler = Proposal({"first": Round(Slab(), 8)}, n_samples=4)
    found = sampled(sampler, knobs=ProposalKnobs(1.0, learns))
    assert found.levels["proposal_0"].weights.requires_grad == learns
    assert not found.samples.t.requires_grad
    with torch.no_grad():
        assert not sampled(sampler).levels["proposal_0"].weights.requires_grad


def test_edges_lie_half_way_between_drawn_positions_and_the_outer_ones_mirror():
    """Weights of 1/4 and 3/4 over two halves: the positions are at cumulative 1/6, 3/6, 5/6."""
    found = drawn_edges(torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0.25, 0.75]]), 3, None)
    middle = [1 / 3, 0.5 + 0.25 / 1.5, 0.5 + (5 / 6 - 0.25) / 1.5]
    inner = [(middle[0] + middle[1]) / 2, (middle[1] + middle[2]) / 2]
    expected = [2 * middle[0] - inner[0], *inner, 2 * middle[2] - inner[1]]
    torch.testing.assert_close(found, torch.tensor([expected]), atol=1e-4, rtol=0)
    outside = drawn_edges(
        torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0]]), 2, torch.Generator().manual_seed(3)
    )
    assert bool(((outside >= 0) & (outside <= 1)).all())


def test_rays_without_an_interval_have_no_samples_and_parts_have_the_numbers_of_the_whole_batch():
    sampler = Proposal({"first": Round(Slab(), 6)}, n_samples=4, spacing="piecewise")
    near, far = torch.full((5,), 0.1), torch.tensor([4.0, 0.0, 4.0, 3.0, 4.0])
    probe = Probe(unit=unit)
    whole = sampler.sample(along_z(5), near, far, 1.0, probe, torch.Generator().manual_seed(1))
    assert whole.samples.offsets.tolist() == [0, 4, 4, 8, 12, 16]
    assert whole.levels["proposal_0"].samples.offsets.tolist() == [0, 6, 6, 12, 18, 24]
    rows = RowsOf(torch.Generator().manual_seed(1), 2, 5)
    part = sampler.sample(along_z(3), near[2:], far[2:], 1.0, probe, rows)
    torch.testing.assert_close(part.samples.t, whole.samples.t[4:])
    assert bool((edges(part.samples, 3).diff(dim=-1) >= 0).all())


def test_jitter_moves_samples_in_training_alone():
    def t(jitter: bool, seed: int | None):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return sampled(Proposal({"a": Round(Slab(), 8)}, 4, jitter=jitter), generator=generator).samples.t

    assert torch.equal(t(True, None), t(False, 1))
    assert not torch.equal(t(True, 1), t(True, 2))


def test_what_is_refused():
    one = Round(Slab(), 4)
    with pytest.raises(InputError, match=r"sampler.rounds has no proposal network \(of first\)"):
        Proposal({"first": None})
    with pytest.raises(InputError, match=r"sampler.n_samples must be 2 or more, found 1"):
        Proposal({"first": one}, n_samples=1)
    with pytest.raises(InputError, match=r"sampler.rounds.<name>.n_samples must be 2 or more, found 0"):
        Round(Slab(), 0)
    with pytest.raises(InputError, match=r"sampler.update_every must be 1 or more, found 0"):
        Proposal({"first": one}, update_every=0)
    with pytest.raises(InputError, match=r"sampler.spacing is one of"):
        Proposal({"first": one}, spacing="even")
