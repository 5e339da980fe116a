"""Mip-NeRF's second round, by hand and against a transcription of equation 18."""

import pytest
import torch

from isosweep.errors import InputError
from isosweep.samplers.base import Probe
from isosweep.samplers.hierarchical import Hierarchical
from isosweep.samplers.resampled import Resampled, blurred
from isosweep.types import Level, Rays, Samples

F64 = torch.float64


def rays(n: int) -> Rays:
    dirs = torch.tensor([[0.0, 0.0, 1.0]], dtype=F64).expand(n, 3)
    return Rays(torch.zeros(n, 3, dtype=F64), dirs, torch.zeros(n, 3, dtype=F64))


def probe(weights: torch.Tensor, seen: list[Samples] | None = None) -> Probe:
    def coarse(samples: Samples) -> Level:
        if seen is not None:
            seen.append(samples)
        return Level(samples, weights.reshape(-1))

    return Probe(coarse=coarse)


def test_weights_are_blurred_by_hand() -> None:
    found = blurred(torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.2]], dtype=F64), 0.01)
    # maxima of neighbours: 0, 0, 1, 1, 0.2, 0.2 (the ends are their own neighbours); means of two: 0, .5, 1, .6, .2
    torch.testing.assert_close(found, torch.tensor([[0.01, 0.51, 1.01, 0.61, 0.21]], dtype=F64))


def test_blurring_is_equation_18() -> None:
    w = torch.rand(6, 9, dtype=F64, generator=torch.Generator().manual_seed(0))
    for r in range(6):
        for k in range(9):
            before, after = w[r, max(k - 1, 0)], w[r, min(k + 1, 8)]
            expected = 0.5 * (max(before, w[r, k]) + max(w[r, k], after)) + 0.02
            assert float(blurred(w, 0.02)[r, k]) == pytest.approx(float(expected))


def test_the_second_round_covers_the_interval_and_follows_the_weights() -> None:
    near, far = torch.tensor([1.0, 0.0, 3.0], dtype=F64), torch.tensor([2.0, 0.0, 5.0], dtype=F64)
    weights = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=F64)
    seen: list[Samples] = []
    sampled = Resampled(4, 8).sample(rays(3), near, far, 1.0, probe(weights, seen), None)
    assert seen[0].offsets.tolist() == [0, 4, 4, 8]  # the ray in the middle has an empty interval
    torch.testing.assert_close(seen[0].dt, torch.tensor([0.25] * 4 + [0.5] * 4, dtype=F64))
    samples = sampled.samples
    assert samples.offsets.tolist() == [0, 8, 8, 16]
    low, high = samples.t - samples.dt / 2, samples.t + samples.dt / 2
    torch.testing.assert_close(low[[0, 8]], torch.tensor([1.0, 3.0], dtype=F64))
    torch.testing.assert_close(high[[7, 15]], torch.tensor([2.0, 5.0], dtype=F64), rtol=0, atol=1e-4)
    torch.testing.assert_close(low[1:8], high[:7])
    # blurred: 0.01, 0.51, 1.01, 0.51; edge k has k / 8 of their sum before it
    share, total = torch.arange(9, dtype=F64) / 8 * 2.04, [0.0, 0.01, 0.52, 1.53, 2.04]
    expected = [
        1 + 0.25 * (i + (s - total[i]) / (total[i + 1] - total[i]))
        for s in share.tolist()
        for i in [max(j for j in range(4) if total[j] <= s)]
    ]
    torch.testing.assert_close(
        torch.cat([low[:8], high[7:8]]), torch.tensor(expected, dtype=F64), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(samples.dt[8:], torch.full((8,), 0.25, dtype=F64), rtol=0, atol=1e-4)
    assert set(sampled.levels) == {"coarse"}


def test_random_edges_lie_in_their_shares_and_come_from_the_generator() -> None:
    near, far = torch.zeros(50, dtype=F64), torch.ones(50, dtype=F64)
    even = torch.ones(50, 4, dtype=F64)
    g = torch.Generator().manual_seed(0)
    found = Resampled(4, 8).sample(rays(50), near, far, 1.0, probe(even), g).samples
    # coarse edges move too, and even weights of uneven sections are no even distribution: only the order is certain
    assert bool((found.dt >= 0).all())
    assert float(found.t.min()) > 0
    again = (
        Resampled(4, 8)
        .sample(rays(50), near, far, 1.0, probe(even), torch.Generator().manual_seed(0))
        .samples
    )
    assert torch.equal(found.t, again.t)
    one = Resampled(1, 8).sample(rays(50), near, far, 1.0, probe(even[:, :1]), g).samples
    edges = torch.cat([(one.t - one.dt / 2).reshape(50, 8), (one.t + one.dt / 2).reshape(50, 8)[:, -1:]], 1)
    place = edges * 9 - torch.arange(9, dtype=F64)
    assert float(place.min()) >= -1e-6
    assert float(place.max()) <= 1 + 1e-6
    assert float(place.std()) > 0.2
    still = Resampled(4, 8, jitter=False).sample(rays(50), near, far, 1.0, probe(even), g).samples
    assert float(still.dt.std()) < 1e-4


def test_a_model_without_a_coarse_network_is_asked_for_its_density() -> None:
    near, far = torch.zeros(2, dtype=F64), torch.full((2,), 4.0, dtype=F64)
    wall = Probe(density=lambda p: 5.0 * (p[:, 2] > 2).to(F64))
    mine = Resampled(4, 16).sample(rays(2), near, far, 1.0, wall, None)
    theirs = Hierarchical(4, 16).sample(rays(2), near, far, 1.0, wall, None)
    assert not mine.levels
    assert not theirs.levels
    assert len(mine.samples) == 32  # the coarse sections are no part of it
    assert len(theirs.samples) == 2 * 20
    # blurred weights: 0.01, .51, ~1.01, ~.51: a quarter of the sections are before 2
    assert int((mine.samples.t < 2).sum()) in (8, 10)


def test_rounds_without_sections_and_negative_padding_are_refused() -> None:
    for coarse, fine, padding in ((0, 1, 0.0), (1, 0, 0.0), (1, 1, -0.1)):
        with pytest.raises(InputError, match="sampler=resampled has at least one section in each round"):
            Resampled(coarse, fine, padding=padding)
    with pytest.raises(InputError, match=r"sampler\.spacing"):
        Resampled(spacing="log")
