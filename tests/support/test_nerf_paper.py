"""The transcription of NeRF's paper, by numbers worked by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support import nerf_paper as paper
from tests.support import nerf_paper_network as net

LN2 = math.log(2.0)
PLAIN = paper.Convention(eps=0.0, floor=0.0)
"""Official but for the two small numbers that make hand-worked values inexact."""
EDGES = replace(paper.SECTIONS, floor=0.0)
SMALL = net.Network(net.official_order(2), net.official_order(1), skip_after=2)


def f64(*rows: object) -> Tensor:
    return torch.tensor(np.array(rows, dtype=np.float64))


def close(found: Tensor, expected: object, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(found.detach().numpy(), np.array(expected, dtype=float), atol=atol, rtol=0)


# positions


def test_official_coarse_positions() -> None:
    near, far = f64(1.0)[0, None], f64(4.0)[0, None]
    close(paper.coarse_knots(near, far, 4), [[1, 2, 3, 4]])
    # 1 / z: 1, 0.625, 0.25
    close(paper.coarse_knots(near, far, 3, lindisp=True), [[1, 1.6, 4]])
    # strata [1, 1.3], [1.3, 2.8], [2.8, 4] and u = 1/2, 0, 3/4
    close(paper.coarse_knots(near, far, 3, f64([0.5, 0, 0.75]), lindisp=True), [[1.15, 1.3, 3.7]])


def test_the_papers_coarse_positions() -> None:
    near, far = f64(1.0)[0, None], f64(5.0)[0, None]
    u = f64([0.25, 0.5, 0, 0.75])
    close(paper.coarse_knots(near, far, 4, u, even="paper"), [[1.25, 2.5, 3, 4.75]])
    close(paper.coarse_knots(near, far, 4, even="paper"), [[1.5, 2.5, 3.5, 4.5]])
    # s = 1/4, 3/4: 1 / (3/4 + 1/20) = 1.25, 1 / (1/4 + 3/20) = 2.5
    close(paper.coarse_knots(near, far, 2, even="paper", lindisp=True), [[1.25, 2.5]])


def test_samples_of_both_conventions() -> None:
    knots, rays_d = f64([1.0, 2, 4]), f64([0.0, 0, 2])
    z, delta = paper.samples(knots, rays_d, paper.OFFICIAL)
    close(z, [[1, 2, 4]])
    close(delta, [[2, 4, 2e10]])
    z, delta = paper.samples(knots, rays_d, paper.SECTIONS)
    close(z, [[1.5, 3]])
    close(delta, [[2, 4]])


def test_the_last_interval_may_end_at_the_far_end() -> None:
    knots, rays_d, to_far = f64([1.0, 2, 4]), f64([0.0, 0, 2]), paper.Convention(last=None)
    _, delta = paper.samples(knots, rays_d, to_far, far=f64(5.0)[0, None])
    close(delta, [[2, 4, 2]])
    with pytest.raises(ValueError, match="far end, found far=None: pass far"):
        paper.samples(knots, rays_d, to_far)


def test_bins_on_edges_need_edges() -> None:
    with pytest.raises(ValueError, match="needs knots that are edges, found positions='points'"):
        paper.Convention(bins="edges")


# compositing

SIGMA = [LN2 / 2, LN2 / 2, LN2 / 2]
PRIMARIES = np.eye(3)[None]


def test_three_official_samples_by_hand() -> None:
    # deltas 2, 4, 2e10: alpha 1/2, 3/4, 1; transmittance 1, 1/2, 1/8; weights 1/2, 3/8, 1/8
    z, delta = paper.samples(f64([1.0, 2, 4]), f64([0.0, 0, 2]), PLAIN)
    out = paper.render_rays(z, delta, f64(SIGMA), torch.tensor(PRIMARIES), torch.ones(3).double(), eps=0.0)
    close(out.weights, [[1 / 2, 3 / 8, 1 / 8]])
    close(out.rgb, [[1 / 2, 3 / 8, 1 / 8]])
    close(out.opacity, [1])
    close(out.depth, [1 / 2 + 2 * 3 / 8 + 4 / 8])


def test_three_sections_by_hand() -> None:
    # edges 1, 2, 4, 5: lengths 2, 4, 2: alpha 1/2, 3/4, 1/2; weights 1/2, 3/8, 1/16; 1/16 remains
    z, delta = paper.samples(f64([1.0, 2, 4, 5]), f64([0.0, 0, 2]), EDGES)
    background = f64([1.0, 0.5, 0])
    out = paper.render_rays(z, delta, f64(SIGMA), torch.tensor(PRIMARIES), background, eps=0.0)
    close(out.weights, [[1 / 2, 3 / 8, 1 / 16]])
    close(out.opacity, [15 / 16])
    close(out.rgb, [[1 / 2 + 1 / 16, 3 / 8 + 1 / 32, 1 / 16]])
    close(out.depth, [1.5 / 2 + 3 * 3 / 8 + 4.5 / 16])
    black = paper.render_rays(z, delta, f64(SIGMA), torch.tensor(PRIMARIES), eps=0.0)
    close(black.rgb, [[1 / 2, 3 / 8, 1 / 16]])


def test_an_opaque_sample_lets_eps_pass() -> None:
    z, delta = f64([1.0, 2]), f64([1e10, 1e10])
    out = paper.render_rays(z, delta, f64([1.0, 1]), torch.ones(1, 2, 3).double())
    np.testing.assert_allclose(out.weights.numpy(), [[1, 1e-10]], rtol=1e-6)


def test_the_product_is_the_exponential_of_equation_3() -> None:
    rng = np.random.default_rng(0)
    sigma, delta, rgb = rng.uniform(0, 3, (7, 9)), rng.uniform(0, 1, (7, 9)), rng.uniform(0, 1, (7, 9, 3))
    expected = np.zeros((7, 3))
    for r in range(7):
        for i in range(9):
            ahead = math.exp(-sum(sigma[r, j] * delta[r, j] for j in range(i)))
            expected[r] += ahead * (1 - math.exp(-sigma[r, i] * delta[r, i])) * rgb[r, i]
    tensors = (torch.tensor(x) for x in (delta, delta, sigma, rgb))
    close(paper.render_rays(*tensors, eps=0.0).rgb, expected)


# drawing by the coarse weights


def test_inverse_of_a_stepped_distribution() -> None:
    # shares 1/4, 3/4, 0; cdf 0, 1/4, 1, 1
    bins, weights = f64([0.0, 1, 3, 4]), f64([1.0, 3, 0])
    u = f64([0.0, 0.125, 0.25, 0.625, 0.8125])[0]
    close(paper.sample_pdf(bins, weights, u, PLAIN), [[0, 0.5, 1, 2, 2.5]])
    close(paper.sample_pdf(bins, weights, f64([1.0]), PLAIN), [[4]])


def test_each_ray_has_its_own_bins_and_numbers() -> None:
    bins, weights = f64([0.0, 1, 2], [10.0, 20, 40]), f64([1.0, 1], [0.0, 1])
    close(
        paper.sample_pdf(bins, weights, f64([0.75, 0.25], [0.5, 0.0]), PLAIN), [[1.5, 0.5], [30, 20]]
    )  # the order of u is kept; u = 0 lies right of the empty bin


def test_the_floor_spreads_an_empty_ray_evenly() -> None:
    found = paper.sample_pdf(f64([0.0, 1, 2, 4]), f64([0.0, 0, 0]), f64([1 / 6, 1 / 2, 5 / 6])[0])
    close(found, [[0.5, 1.5, 3]])


def test_a_narrow_share_is_drawn_at_the_left_or_inside() -> None:
    # floor 1: shares of weights 2e6 - 1, 3, 2e6 - 1 are 2e6, 4, 2e6 of 4000004: the middle one is 1e-6
    bins, weights = f64([0.0, 1, 3, 4]), f64([2e6 - 1, 3, 2e6 - 1])
    left, share = 2e6 / 4000004, 4 / 4000004
    u = f64([left + share / 4])
    official, inside = paper.Convention(floor=1.0), replace(paper.SECTIONS, floor=1.0)
    close(paper.sample_pdf(bins, weights, u, official), [[1 + 2 * share / 4]])
    close(paper.sample_pdf(bins, weights, u, inside), [[1 + 2 / 4]], atol=1e-8)
    # with least above the share the divisor is least: (share / 4) / 1e-5
    wider = replace(inside, least=1e-5)
    close(paper.sample_pdf(bins, weights, u, wider), [[1 + 2 * share / 4 / 1e-5]], atol=1e-9)


def test_sections_divide_a_vanishing_share_by_1e_9() -> None:
    # shares 2e10, 4, 2e10 of 4e10 + 4: the middle one is 1e-10
    left, share = 2e10 / (4e10 + 4), 4 / (4e10 + 4)
    bins, weights = f64([0.0, 1, 3, 4]), f64([2e10, 4, 2e10])
    found = paper.sample_pdf(bins, weights, f64([left + share / 2]), EDGES)
    close(found, [[1 + 2 * share / 2 / 1e-9]], atol=1e-6)


def test_the_official_floor_is_1e_5() -> None:
    # weights 1e-5, 0 become 2e-5, 1e-5: shares 2/3, 1/3
    found = paper.sample_pdf(f64([0.0, 1, 2]), f64([1e-5, 0]), f64([1 / 3, 5 / 6]))
    close(found, [[0.5, 1.5]])


def test_even_numbers_include_both_ends() -> None:
    close(paper.even_u(5, f64([0.0])), [0, 0.25, 0.5, 0.75, 1])


def test_official_fine_knots_leave_out_the_ends() -> None:
    # bins at mid-points 0.5, 1.5, 3; of weights 9, 1, 3, 9 the inner two count: cdf 0, 1/4, 1
    knots, weights = f64([0.0, 1, 2, 4]), f64([9.0, 1, 3, 9])
    found = paper.fine_knots(knots, knots, weights, f64([0.625, 0.125]), PLAIN)
    close(found, [[0, 1, 1, 2, 2.25, 4]])


def test_fine_edges_are_drawn_in_the_sections() -> None:
    # bins are the edges 0, 1, 3; shares 1/4, 3/4
    edges = f64([0.0, 1, 3])
    found = paper.fine_knots(edges, f64([0.5, 2]), f64([1.0, 3]), f64([0.125, 0.625]), EDGES)
    close(found, [[0, 0.5, 1, 2, 3]])


def test_edges_can_be_drawn_between_mid_points() -> None:
    # sections at 0.5, 1.5, 3: bins 1, 2.25 carry the middle weight alone
    mixed = replace(EDGES, bins="mids")
    found = paper.fine_knots(f64([0.0, 1, 2, 4]), f64([0.5, 1.5, 3]), f64([5.0, 1, 7]), f64([0.5]), mixed)
    close(found, [[0, 1, 1.625, 2, 4]])


# both passes


def constant(sigma: float, network: net.Network = SMALL) -> dict[str, Tensor]:
    """A field of density ``sigma`` and colour sigmoid(0) = 1/2 everywhere."""
    made = net.init_weights(network, torch.Generator(), depth=4, width=8)
    made = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in made.items()}
    made["density.bias"] += sigma
    return made


RAY = (f64([0.0, 0, -1]), f64([0.0, 0, 2]))


def test_two_passes_over_edges_by_hand() -> None:
    # coarse edges 0, 1, 2 of length 2 each: alpha 1/2, weights 1/2, 1/4; shares 2/3, 1/3;
    # u = 1/3, 5/6 -> 0.5, 1.5; the fine field is twice as dense: 1 - exp(-4 ln 2) = 15/16
    coarse, fine = paper.two_pass(
        constant(LN2 / 2), constant(LN2), SMALL, *RAY, f64([0.0, 1, 2]), f64([1 / 3, 5 / 6]),
        background=torch.ones(3).double(), convention=EDGES,
    )  # fmt: skip
    close(coarse.z, [[0.5, 1.5]])
    close(coarse.weights, [[1 / 2, 1 / 4]])
    close(coarse.rgb, [[3 / 8 + 1 / 4] * 3])
    close(fine.knots, [[0, 0.5, 1, 1.5, 2]])
    close(fine.z, [[0.25, 0.75, 1.25, 1.75]])
    close(fine.delta, [[1, 1, 1, 1]])
    close(fine.weights, [[1 / 2, 1 / 4, 1 / 8, 1 / 16]])
    close(fine.opacity, [15 / 16])
    close(fine.rgb, [[15 / 32 + 1 / 16] * 3])


def test_two_official_passes_by_hand() -> None:
    # coarse at 0, 1, 2, 3, |d| = 2: alpha 1/2, 1/2, 1/2, 1; weights 1/2, 1/4, 1/8, 1/8;
    # bins 0.5, 1.5, 2.5 with shares 2/3, 1/3: u = 1/3 -> 1; u = 5/6 -> 2
    coarse, fine = paper.two_pass(
        constant(LN2 / 2),
        constant(LN2),
        SMALL,
        *RAY,
        f64([0.0, 1, 2, 3]),
        f64([1 / 3, 5 / 6]),
        convention=PLAIN,
    )
    close(coarse.weights, [[1 / 2, 1 / 4, 1 / 8, 1 / 8]])
    close(coarse.rgb, [[1 / 2] * 3])
    close(fine.z, [[0, 1, 1, 2, 2, 3]])
    close(fine.weights, [[3 / 4, 0, 3 / 16, 0, 3 / 64, 1 / 64]])
    close(fine.depth, [3 / 16 + 6 / 64 + 3 / 64])


def test_an_opaque_official_pass_leaves_1e_10() -> None:
    one = paper.one_pass(constant(1e4), SMALL, *RAY, f64([0.0, 1, 2]))
    np.testing.assert_allclose(one.weights.numpy(), [[1, 1e-10, 1e-20]], rtol=1e-6)


def test_both_passes_may_end_at_the_far_end() -> None:
    # last intervals (2 - 1) * 2 and (2 - 1.5) * 2
    to_far = replace(PLAIN, last=None)
    coarse, fine = paper.two_pass(
        constant(LN2 / 2), constant(LN2 / 2), SMALL, *RAY, f64([0.0, 1]), None,
        convention=to_far, far=f64(2.0)[0, None], given_fine_knots=f64([0.0, 1, 1.5]),
    )  # fmt: skip
    close(coarse.weights, [[1 / 2, 1 / 4]])
    close(fine.delta, [[2, 1, 1]])


def test_noise_is_added_before_density_is_rectified() -> None:
    noise = (f64([-1.0, LN2]), f64([LN2 / 2, -1]))
    coarse, fine = paper.two_pass(
        constant(0.0), constant(0.0), SMALL, *RAY, f64([0.0, 0.5, 1]), None,
        convention=EDGES, noise=noise, given_fine_knots=f64([0.0, 1, 2]),
    )  # fmt: skip
    close(coarse.weights, [[0, 1 / 2]])
    close(fine.weights, [[1 / 2, 0]])


def random_weights(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = net.init_weights(SMALL, generator, depth=4, width=8)
    made["density.bias"] += 0.7
    return {name: w.double().requires_grad_() for name, w in made.items()}


def test_points_lie_on_the_ray_and_directions_are_unit() -> None:
    weights = random_weights(0)
    one = paper.one_pass(weights, SMALL, *RAY, f64([0.25, 0.75]), convention=PLAIN)
    # o + z d: (0, 0, -1/2), (0, 0, 1/2), seen along (0, 0, 1)
    points, dirs = f64([0.0, 0, -0.5], [0, 0, 0.5]), f64([0.0, 0, 1], [0, 0, 1])
    raw_rgb, raw_sigma = net.field(weights, SMALL, points, dirs)
    alpha = 1 - torch.exp(-torch.relu(raw_sigma[0]))  # delta = 0.5 * |d| = 1
    rgb = torch.sigmoid(raw_rgb)
    assert 0.05 < alpha.item() < 0.95
    assert raw_sigma[1] > 0
    close(one.rgb, (alpha * rgb[0] + (1 - alpha) * rgb[1])[None].detach().numpy())


def test_the_fine_colour_gives_the_coarse_network_no_gradient() -> None:
    coarse_weights, fine_weights = random_weights(0), random_weights(1)
    knots, u = f64([0.0, 0.5, 1, 1.5]), f64([0.2, 0.6, 0.9])
    coarse, fine = paper.two_pass(coarse_weights, fine_weights, SMALL, *RAY, knots, u)
    fine.rgb.sum().backward(retain_graph=True)
    assert all(w.grad is None for w in coarse_weights.values())
    assert all(w.grad is not None and w.grad.any() for w in fine_weights.values())
    before = {name: w.grad.clone() for name, w in fine_weights.items() if w.grad is not None}
    coarse.rgb.sum().backward()
    assert all(w.grad is not None and w.grad.any() for w in coarse_weights.values())
    assert all(torch.equal(before[name], w.grad) for name, w in fine_weights.items() if w.grad is not None)


def test_given_fine_knots_replace_the_draw() -> None:
    coarse_weights, fine_weights = random_weights(0), random_weights(1)
    knots, u = f64([0.0, 0.5, 1, 1.5]), f64([0.2, 0.6, 0.9])
    _, drawn = paper.two_pass(coarse_weights, fine_weights, SMALL, *RAY, knots, u)
    _, given = paper.two_pass(
        coarse_weights, fine_weights, SMALL, *RAY, knots, None, given_fine_knots=drawn.knots
    )
    assert torch.equal(drawn.rgb, given.rgb)
    with pytest.raises(ValueError, match="found both or none: pass exactly one"):
        paper.two_pass(coarse_weights, fine_weights, SMALL, *RAY, knots, u, given_fine_knots=drawn.knots)


def test_the_loss_by_hand() -> None:
    target = f64([0.0, 0, 0], [1, 1, 1])
    coarse = f64([0.5, 0, 0], [1, 1, 0])  # 0.25 + 1
    fine = f64([0.0, 0.1, 0], [0.8, 1, 1])  # 0.01 + 0.04
    close(paper.loss(coarse, fine, target, "sum"), 1.3)
    close(paper.loss(coarse, fine, target), 1.3 / 6)


def test_the_learning_rate_falls_to_a_tenth() -> None:
    assert paper.learning_rate(0) == 5e-4
    assert paper.learning_rate(125_000) == pytest.approx(5e-4 / math.sqrt(10))
    assert paper.learning_rate(250_000) == pytest.approx(5e-5)
    assert paper.learning_rate(50, decay_steps=500) == pytest.approx(5e-4 * 10**-0.1)


def test_training_lowers_both_errors() -> None:
    """Two sections' worth of a wall at z = 1: both passes learn its colour within 100 steps."""
    both = (random_weights(0), random_weights(1))
    parameters = [w for weights in both for w in weights.values()]
    optimiser = torch.optim.Adam(parameters, lr=1e-2, betas=(0.9, 0.999), eps=1e-7)
    generator = torch.Generator().manual_seed(0)
    rays_o = torch.rand(16, 3, generator=generator, dtype=torch.float64) - 0.5
    rays_d = f64([0.0, 0, 1]).expand(16, 3)
    target = torch.stack([rays_o[:, 0] + 0.5, torch.full_like(rays_o[:, 0], 0.2), 0.5 - rays_o[:, 1]], dim=-1)
    near, far = torch.full_like(rays_o[:, 0], 0.5), torch.full_like(rays_o[:, 0], 1.5)
    errors = []
    for _ in range(100):
        u = torch.rand(2, 16, 6, generator=generator, dtype=torch.float64)
        coarse, fine = paper.two_pass(
            *both, SMALL, rays_o, rays_d, paper.coarse_knots(near, far, 6, u[0]), u[1]
        )
        errors.append([(x.rgb - target).square().mean().item() for x in (coarse, fine)])
        optimiser.zero_grad()
        paper.loss(coarse.rgb, fine.rgb, target).backward()
        optimiser.step()
    first, last = np.mean(errors[:5], axis=0), np.mean(errors[-5:], axis=0)
    assert (last < 0.3 * first).all(), f"errors (coarse, fine) went from {first} to {last}"
