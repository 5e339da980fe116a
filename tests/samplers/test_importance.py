"""Importance sampling against plain transcriptions of the papers' formulas, loop by loop."""

import math

import numpy as np
import pytest
import torch

from isosweep.samplers import hierarchical
from isosweep.samplers.base import Probe, jitter, pack
from isosweep.samplers.hierarchical import Hierarchical, UpSample, invert_cdf
from isosweep.samplers.uniform import Uniform, stratified_edges
from isosweep.types import Level, Rays


def rays(n: int = 1, z: float = -3.0) -> Rays:
    return Rays(torch.tensor([[0.0, 0.0, z]] * n), torch.tensor([[0.0, 0.0, 1.0]] * n), torch.zeros(n, 3))


def sampled(sampler, near: list[float], far: list[float], probe: Probe, seed: int | None = None):
    """The finest samples on rays along +z from z = -3."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return sampler.sample(
        rays(len(near)), torch.tensor(near), torch.tensor(far), 0.1, probe, generator
    ).samples


def edges_of(samples, n_rays: int = 1) -> torch.Tensor:
    low, high = samples.t - samples.dt / 2, samples.t + samples.dt / 2
    return torch.cat([low.reshape(n_rays, -1), high.reshape(n_rays, -1)[:, -1:]], -1)


def inverse(edges: np.ndarray, weights: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Inverse transform sampling by numpy's own interpolation."""
    pdf = weights + 1e-5
    cdf = np.concatenate([[0.0], np.cumsum(pdf)]) / pdf.sum()
    return np.interp(places, cdf, edges)


def weights_of(alpha: np.ndarray) -> np.ndarray:
    through, weights = 1.0, []
    for a in alpha:
        weights.append(a * through)
        through *= 1 - a
    return np.array(weights)


def up_sampled(
    level, near: float, far: float, n: int, fine: int, rounds: int, sharpness: float
) -> np.ndarray:
    """NeuS' up-sampling of one ray, written from the supplement and its code."""
    edges = np.linspace(near, far, n + 1)
    for i in range(rounds):
        f, s, before, alpha = level(edges), sharpness * 2**i, 0.0, []
        for k in range(len(edges) - 1):
            dt = edges[k + 1] - edges[k]
            slope = (f[k + 1] - f[k]) / max(dt, 1e-5)
            cos, before = max(min(before, slope, 0.0), -1e3), slope
            middle = (f[k] + f[k + 1]) / 2
            enter = 1 / (1 + math.exp(-s * (middle - cos * dt / 2)))
            leave = 1 / (1 + math.exp(-s * (middle + cos * dt / 2)))
            alpha.append(min(max((enter - leave + 1e-5) / (enter + 1e-5), 0.0), 1.0))
        count = fine // rounds
        places = (np.arange(count) + 0.5) / count
        new = inverse(edges, weights_of(np.array(alpha)), places)
        edges = np.sort(np.concatenate([edges, new]))
    return edges


LEVELS = {
    "head_on": lambda z: 0.2 - z,
    "thin_ball": lambda z: abs(z) - 0.15,
    "two_walls": lambda z: (z - 0.5) * (z + 0.4),
}


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize(("rounds", "sharpness"), [(1, 64.0), (2, 16.0), (4, 8.0)])
def test_up_sampling_equals_its_transcription(name, rounds, sharpness):
    level = LEVELS[name]
    sampler = UpSample(12, 16, rounds, sharpness)
    found = edges_of(sampled(sampler, [2.0], [4.0], Probe(level=lambda p: level(p[:, 2]))))[0]
    expected = up_sampled(lambda t: level(t - 3.0), 2.0, 4.0, 12, 16, rounds, sharpness)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)
    # the coarse edges stay, and each round adds its share
    assert len(found) == 12 + 1 + 16


def test_coarse_weights_place_the_fine_edges_and_the_coarse_edges_stay():
    density = lambda p: 4.0 * (p[:, 2].abs() < 0.5)  # noqa: E731
    found = edges_of(sampled(Hierarchical(8, 6), [2.0], [4.0], Probe(density=density)))[0]
    coarse = np.linspace(2, 4, 9)
    middle = (coarse[1:] + coarse[:-1]) / 2 - 3
    alpha = 1 - np.exp(-4.0 * (np.abs(middle) < 0.5) * 0.25)
    fine = inverse(coarse, weights_of(alpha), (np.arange(6) + 0.5) / 6)
    np.testing.assert_allclose(found.numpy(), np.sort(np.concatenate([coarse, fine])), atol=1e-5)


@pytest.mark.parametrize("sampler", [Hierarchical(4, 4), UpSample(4, 4, 2), Uniform(4)])
def test_rays_that_miss_have_no_samples(sampler):
    probe = Probe(density=lambda p: torch.ones(len(p)), level=lambda p: 0.2 - p[:, 2])
    found = sampled(sampler, [2.0, 0.05, 2.0, 1.5], [4.0, 0.0, 3.0, 1.5], probe, seed=0)
    n = 4 if isinstance(sampler, Uniform) else 8
    assert found.offsets.tolist() == [0, n, n, 2 * n, 2 * n]
    assert found.ray_index.tolist() == [0] * n + [2] * n
    for k, far in ((0, 4.0), (1, 3.0)):
        edges = edges_of(found, 2)[k]
        torch.testing.assert_close(edges[[0, -1]], torch.tensor([2.0, far]))
        assert (edges.diff() >= -1e-6).all()


def test_one_generator_draws_the_coarse_and_the_fine_places():
    probe = Probe(density=lambda p: torch.ones(len(p)))
    a, b, c = (sampled(Hierarchical(4, 4), [2.0], [4.0], probe, seed=s).t for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_probe_is_asked_without_gradients():
    asked = []

    def density(p):
        asked.append(torch.is_grad_enabled())
        return torch.ones(len(p))

    sampled(Hierarchical(4, 4), [2.0], [4.0], Probe(density=density))
    sampled(UpSample(4, 4, 2), [2.0], [4.0], Probe(level=density))
    assert asked == [False] * len(asked)


def test_the_inverse_cdf_is_numpys():
    rng = np.random.default_rng(0)
    edges = np.sort(rng.random((5, 9)), axis=-1)
    weights = rng.random((5, 8)) * (rng.random((5, 8)) > 0.4)
    found = invert_cdf(torch.tensor(edges), torch.tensor(weights), 16, None).numpy()
    generator = torch.Generator().manual_seed(1)
    drawn = invert_cdf(torch.tensor(edges), torch.tensor(weights), 16, generator).numpy()
    shift = torch.rand(5, 16, generator=torch.Generator().manual_seed(1)).numpy()
    for k in range(5):
        np.testing.assert_allclose(
            found[k], inverse(edges[k], weights[k], (np.arange(16) + 0.5) / 16), atol=1e-6
        )
        np.testing.assert_allclose(
            drawn[k], inverse(edges[k], weights[k], (np.arange(16) + shift[k]) / 16), atol=1e-6
        )


def test_the_inverse_cdf_of_nothing_is_even_and_stays_inside():
    edges = torch.tensor([[1.0, 2.0, 4.0]])
    # 1e-5 a section, whatever its length
    found = invert_cdf(edges, torch.zeros(1, 2), 4, None)
    torch.testing.assert_close(found, torch.tensor([[1.25, 1.75, 2.5, 3.5]]))
    assert float(invert_cdf(edges, torch.tensor([[0.0, 1.0]]), 1000, None).max()) < 4.0


def test_weights_are_what_is_left_of_the_light():
    torch.testing.assert_close(
        hierarchical._weights(torch.tensor([[0.5, 0.5, 0.2, 1.0]])), torch.tensor([[0.5, 0.25, 0.05, 0.2]])
    )


def test_sections_without_length_have_a_finite_opacity():
    edges = torch.tensor([[1.0, 2.0, 2.0, 3.0]])
    alpha = UpSample._alpha(edges, torch.tensor([[0.5, -0.5, -0.5, -1.5]]), 64.0)
    assert alpha.isfinite().all()
    # nothing falls within no length: what is left is (0 + 1e-5) / (S + 1e-5)
    assert float(alpha[0, 1]) == pytest.approx(1e-5 / (1 / (1 + math.exp(32.0)) + 1e-5), rel=1e-3)


def test_stratified_edges_are_jittered_by_at_most_half_a_section():
    near, far = torch.full((400,), 1.0), torch.full((400,), 3.0)
    even = stratified_edges(near, far, 4, None)
    torch.testing.assert_close(even[0], torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0]))
    moved = stratified_edges(near, far, 4, torch.Generator().manual_seed(0)) - even
    assert moved[:, [0, -1]].abs().max() == 0
    inner = moved[:, 1:-1]
    assert inner.abs().max() <= 0.25
    assert inner.min() < -0.24
    assert inner.max() > 0.24
    assert inner.mean().abs() < 0.02
    # every inner edge is moved for itself
    assert (inner[:, 0] - inner[:, 1]).abs().max() > 0.1
    single = stratified_edges(near, far, 1, torch.Generator())
    torch.testing.assert_close(single[0], torch.tensor([1.0, 3.0]))
    missed = stratified_edges(torch.tensor([0.05]), torch.tensor([0.0]), 2, None)
    torch.testing.assert_close(missed, torch.full((1, 3), 0.05))


def test_packing_by_hand():
    edges = torch.tensor([[0.0, 1.0, 3.0], [9.0, 9.0, 9.0], [2.0, 2.5, 4.5]])
    s = pack(edges, torch.tensor([True, False, True]))
    assert s.ray_index.tolist() == [0, 0, 2, 2]
    assert s.offsets.tolist() == [0, 2, 2, 4]
    torch.testing.assert_close(s.t, torch.tensor([0.5, 2.0, 2.25, 3.5]))
    torch.testing.assert_close(s.dt, torch.tensor([1.0, 2.0, 0.5, 2.0]))


def test_jitter_is_the_middle_without_a_generator_and_fills_the_section_with_one():
    assert jitter(3, None, torch.device("cpu")).tolist() == [0.5] * 3
    drawn = jitter(500, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert drawn.min() < 0.05
    assert drawn.max() > 0.95


def test_up_sampling_says_what_it_was_given():
    with pytest.raises(ValueError, match=r"n_fine=10 must be a multiple of rounds=4"):
        UpSample(8, 10, 4)
    assert (Hierarchical.needs, UpSample.needs, Uniform.needs) == ("density", "level", None)


def test_the_gradient_of_the_fine_samples_does_not_reach_the_coarse_network():
    """Mildenhall et al. 2020, 5.2: the coarse weights only say where; the places are data."""
    raw = torch.zeros(2, 4, requires_grad=True)

    def coarse(samples):
        weights = torch.softmax(raw, 1).reshape(-1)
        return Level(samples, weights)

    made = Hierarchical(4, 6).sample(
        rays(2), torch.tensor([2.0, 2.0]), torch.tensor([4.0, 4.0]), 0.1, Probe(coarse=coarse), None
    )
    assert made.levels["coarse"].weights.requires_grad
    assert not made.samples.t.requires_grad
    assert not made.samples.dt.requires_grad
