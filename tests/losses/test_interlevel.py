"""The interlevel loss: by hand, against the definition section by section, and where its gradient goes."""

import pytest
import torch

from isosweep.errors import InputError
from isosweep.losses.interlevel import background_interlevel, excess, interlevel
from isosweep.losses.terms import ray_distortion
from isosweep.losses.total import TotalLoss
from isosweep.samplers.base import kept_samples, pack
from isosweep.types import Batch, Level, Rays, RenderOut, Samples


def brute_force(t, w, s, p) -> torch.Tensor:
    """Equations 12 and 13 of mip-NeRF 360, one ray and one section at a time."""
    rows = []
    for ray in range(len(w)):
        row = []
        for i in range(w.shape[1]):
            bound = sum(
                float(p[ray, j])
                for j in range(p.shape[1])
                if max(float(t[ray, i]), float(s[ray, j])) < min(float(t[ray, i + 1]), float(s[ray, j + 1]))
            )
            row.append(max(0.0, float(w[ray, i]) - bound) ** 2 / (float(w[ray, i]) + 1e-7))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def drawn(n: int, low: float = 0.0, seed: int = 0, rays: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges on a grid, so that some edges of two rounds agree, and weights."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randint(0, 4, (rays, n + 1), generator=generator).double()
    weights = torch.rand(rays, n, generator=generator, dtype=torch.float64)
    return low + steps.cumsum(-1), weights / weights.sum(-1, keepdim=True)


@pytest.mark.parametrize("low", [0.0, -5.0, 12.0, 100.0])
def test_it_is_what_a_look_at_every_pair_of_sections_finds(low):
    (t, w), (s, p) = drawn(9, low), drawn(13, seed=1)
    # a section of length 0 overlaps nothing in the definition; its weight is 0 in any render
    w, p = w * (t.diff(dim=-1) > 0), p * (s.diff(dim=-1) > 0)
    torch.testing.assert_close(excess(t, w, s, p), brute_force(t, w, s, p), atol=1e-12, rtol=1e-9)


def samples(edges: list[list[float]]) -> Samples:
    return pack(torch.tensor(edges), torch.ones(len(edges), dtype=torch.bool))


def out(weights: torch.Tensor, at: Samples, **levels: Level) -> RenderOut:
    n = len(at.offsets) - 1
    zero = torch.zeros(n)
    return RenderOut(torch.zeros(n, 3), zero, zero, at, weights, levels=levels)


BATCH = Batch(Rays(torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(2, 3)), torch.zeros(2, 3))


def test_by_hand():
    """Two rays. Of the first, [0, 1] has 0.6 and is bounded by 0.2 + 0.1; [1, 3] has 0.4 and is by 0.1 + 0.6."""
    fine, coarse = samples([[0.0, 1.0, 3.0]] * 2), samples([[0.0, 0.5, 2.0, 3.0]] * 2)
    weights = torch.tensor([0.6, 0.4, 0.0, 1.0], requires_grad=True)
    proposed = torch.tensor([0.2, 0.1, 0.6, 0.5, 0.25, 0.0], requires_grad=True)
    found = interlevel(out(weights, fine, proposal_0=Level(coarse, proposed)), BATCH)
    torch.testing.assert_close(found, torch.tensor((0.3**2 / 0.6 + 0.75**2) / 2))
    twice = out(weights, fine, proposal_0=Level(coarse, proposed), proposal_1=Level(coarse, proposed))
    torch.testing.assert_close(interlevel(twice, BATCH), 2 * found)
    found.backward()
    assert weights.grad is None, "only the proposals learn"
    assert proposed.grad is not None
    expected = torch.tensor([-0.5, -0.5, 0.0, 0.0, -0.75, -0.75])
    torch.testing.assert_close(proposed.grad, expected)


def test_the_backgrounds_is_that_of_its_own_levels():
    fine, coarse = samples([[0.0, 1.0]]), samples([[0.0, 2.0]])
    level, proposal = Level(fine, torch.tensor([0.8])), Level(coarse, torch.tensor([0.3]))
    none = Level(coarse, torch.tensor([0.0]))
    found = out(torch.zeros(1), fine, background=level, background_proposal_0=proposal, proposal_0=none)
    torch.testing.assert_close(background_interlevel(found, BATCH), torch.tensor(0.25 / 0.8))
    assert float(interlevel(found, BATCH)) == 0.0


def test_rays_that_are_not_sampled_have_no_part_and_none_at_all_is_zero():
    valid = torch.tensor([False, True])
    fine, coarse = pack(torch.tensor([[0.0, 1.0]] * 2), valid), pack(torch.tensor([[0.0, 1.0]] * 2), valid)
    found = out(torch.tensor([1.0]), fine, proposal_0=Level(coarse, torch.tensor([0.5])))
    torch.testing.assert_close(interlevel(found, BATCH), torch.tensor(0.25))
    nothing = kept_samples(fine, torch.tensor([False]))
    empty = Level(nothing, torch.zeros(0, requires_grad=True))
    assert float(interlevel(out(torch.zeros(0), nothing, proposal_0=empty), BATCH).detach()) == 0.0


def test_rounds_that_differ_from_ray_to_ray_are_refused():
    uneven = kept_samples(samples([[0.0, 1.0, 2.0]] * 2), torch.tensor([True, True, True, False]))
    even = Level(samples([[0.0, 1.0]] * 2), torch.zeros(2))
    with pytest.raises(InputError, match="found between 1 and 2: use sampler=proposal"):
        interlevel(out(torch.zeros(3), uneven, proposal_0=even), BATCH)
    # 4 samples of 2 rays, and still not 2 of each
    uneven = kept_samples(
        samples([[0.0, 1.0, 2.0, 3.0]] * 2), torch.tensor([True, False, False, True, True, True])
    )
    with pytest.raises(InputError, match="found between 1 and 3: use sampler=proposal"):
        interlevel(out(torch.zeros(4), uneven, proposal_0=even), BATCH)


def test_a_loss_without_it_is_refused_where_proposals_could_not_learn():
    provides = frozenset(
        {"rgb", "weights", "samples", "levels.proposal_0.weights", "levels.proposal_0.samples"}
    )
    term = {"weight": 1.0, "fn": lambda out, batch: out.rgb.mean()}
    term["fn"].needs, term["fn"].over, term["fn"].level = frozenset({"rgb"}), "rays", None  # pyright: ignore
    with pytest.raises(InputError, match=r"set loss.terms.interlevel.weight=1, or use another sampler"):
        TotalLoss({"rgb": term}).check("nerf", provides)
    both = TotalLoss({"rgb": term, "interlevel": {"weight": 1.0, "fn": interlevel}})
    both.check("nerf", provides)
    with pytest.raises(InputError, match=r"'interlevel' reads .*proposal_0"):
        both.check("nerf", frozenset({"rgb", "weights", "samples"}))


def test_distortion_in_another_spacing_is_that_of_the_warped_edges():
    edges = torch.tensor([[0.5, 1.0, 4.0, 100.0]])
    weights = torch.tensor([0.2, 0.3, 0.4])
    warped = samples((-1 / edges).tolist())
    found = ray_distortion(weights, samples(edges.tolist()), "disparity")
    torch.testing.assert_close(found, ray_distortion(weights, warped))
    assert abs(float(found - ray_distortion(weights, samples(edges.tolist())))) > 0.005


def test_edges_are_half_a_length_before_and_behind_the_middle():
    """A section [0, 3] with 0.5 overlaps the first of [0, 4], [4, 8] alone, which has 0.1."""
    fine, coarse = samples([[0.0, 3.0]]), samples([[0.0, 4.0, 8.0]])
    level = Level(coarse, torch.tensor([0.1, 0.9]))
    found = interlevel(out(torch.tensor([0.5]), fine, proposal_0=level), BATCH)
    torch.testing.assert_close(found, torch.tensor(0.4**2 / 0.5))


def test_a_weight_of_nearly_nothing_costs_a_number() -> None:
    """1e-7, bounded by 0: 1e-14 / 2e-7."""
    t, w = torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.tensor([[1e-7]], dtype=torch.float64)
    assert excess(t, w, t, torch.zeros_like(w)).item() == pytest.approx(5e-8)
