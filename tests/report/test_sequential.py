"""The sequential test: its numbers by hand and by other means, its errors and its savings on a synthetic objective."""

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from isosweep.report.sequential import SPENT, Decision, chance_of_a_decision, decide, looks

PAIRS = 2000
MOST = 10
PLAN = looks(3, MOST, 0.05)


def decided(differences: np.ndarray) -> list[Decision]:
    """A decision for each row of differences."""
    return [decide(row.tolist(), PLAN) for row in differences]


def crossed(differences: np.ndarray) -> np.ndarray:
    """Whether any look decides, vectorised: the same statistics by another way."""
    n = np.arange(1, differences.shape[1] + 1)
    mean = np.cumsum(differences, 1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (np.cumsum(differences**2, 1) - n * mean**2) / (n - 1)
        t = np.abs(mean) / np.sqrt(variance / n)
    bounds = np.array([PLAN.critical[k] for k in range(PLAN.first, PLAN.last + 1)])
    return (t[:, PLAN.first - 1 : PLAN.last] >= bounds).any(1)


def test_a_single_look_is_students_t() -> None:
    plan = looks(5, 5, 0.05)
    assert plan.level == pytest.approx(SPENT * 0.05, rel=2e-4)
    assert plan.critical[5] == pytest.approx(stats.t.ppf(1 - SPENT * 0.05 / 2, 4), rel=1e-4)


def test_a_decision_by_hand() -> None:
    """1, 2, 3 have mean 2 and deviation 1: half width = critical / sqrt(3). 1.9, 2, 2.1 have a tenth of that."""
    wide = decide([1.0, 2.0, 3.0], PLAN)
    half = PLAN.critical[3] / sqrt(3)
    assert (wide.low, wide.high) == (pytest.approx(2 - half), pytest.approx(2 + half))
    assert (wide.n, wide.mean, wide.sign) == (3, 2.0, 0)
    narrow = decide([1.9, 2.0, 2.1, -50.0], PLAN)
    assert (narrow.n, narrow.sign) == (3, 1), "a decision stays, whatever comes later"
    assert narrow.low == pytest.approx(2 - half / 10)
    assert decide([-1.9, -2.0, -2.1], PLAN).sign == -1
    assert decide([], PLAN) == Decision(0, None, None, None)
    assert decide([1.0, 1.0], PLAN) == Decision(2, 1.0, None, None)


def test_differences_without_spread_are_decided_by_their_signs() -> None:
    needed = next(n for n in range(2, 20) if 2.0 ** (1 - n) <= PLAN.level)
    assert needed == 8
    assert decide([0.5] * (needed - 1), PLAN).sign == 0
    assert (decide([0.5] * MOST, PLAN).n, decide([0.5] * MOST, PLAN).sign) == (needed, 1)
    assert decide([0.0] * MOST, PLAN).sign == 0


def test_the_chance_of_two_looks_is_exact() -> None:
    """Against a million null pairs; the standard error of their share is 0.0003."""
    level = 0.05
    x = np.random.default_rng(4).standard_normal((1_000_000, 4))
    t = [np.abs(x[:, :n].mean(1)) / (x[:, :n].std(1, ddof=1) / sqrt(n)) for n in (3, 4)]
    share = ((t[0] >= stats.t.ppf(0.975, 2)) | (t[1] >= stats.t.ppf(0.975, 3))).mean()
    assert chance_of_a_decision(3, 4, level) == pytest.approx(share, abs=0.001)


def test_the_chance_of_many_looks_is_bounded_from_above() -> None:
    null = np.random.default_rng(5).standard_normal((100_000, MOST))
    share = crossed(null).mean()
    bound = chance_of_a_decision(PLAN.first, PLAN.last, PLAN.level)
    assert bound == pytest.approx(SPENT * 0.05, rel=2e-4)
    assert 0.85 * bound < share < bound, share


def null_pairs(noise: str, pairs: int, seed: int = 1977) -> np.ndarray:
    """Differences of two equal rows, by kind of noise; so they are symmetric."""
    random = np.random.default_rng(seed)
    shape = (pairs, MOST)

    def two(draw: Callable[[], np.ndarray]) -> np.ndarray:
        return draw() - draw()

    kinds: dict[str, Callable[[], np.ndarray]] = {
        "normal": lambda: random.standard_normal(shape),
        "one spread for each pair": lambda: random.standard_normal(shape) * random.exponential(1, (pairs, 1)),
        "rows of uniform noise": lambda: two(lambda: random.uniform(-1, 1, shape)),
        "rows of exponential noise": lambda: two(lambda: random.exponential(1, shape)),
        "rows that end in one of two ways": lambda: two(
            lambda: np.sign(random.uniform(-1, 1, shape)) + 0.2 * random.standard_normal(shape)
        ),
        "heavy tails": lambda: random.standard_t(3, shape),
    }
    return kinds[noise]()


@pytest.mark.parametrize("seed", range(5))
def test_at_most_five_percent_false_decisions(seed: int) -> None:
    found = sum(d.sign != 0 for d in decided(null_pairs("normal", PAIRS, seed)))
    print(f"{found} of {PAIRS} null pairs decided, {found / PAIRS:.2%}")
    assert found <= 0.05 * PAIRS


@pytest.mark.parametrize(
    "noise",
    [
        "one spread for each pair",
        "rows of uniform noise",
        "rows of exponential noise",
        "rows that end in one of two ways",
        "heavy tails",
    ],
)
def test_other_noise_keeps_the_promise(noise: str) -> None:
    share = crossed(null_pairs(noise, 50_000)).mean()
    print(f"{noise}: {share:.2%} of 50,000 null pairs decided")
    assert share <= 0.05


def test_two_ways_agree() -> None:
    null = null_pairs("normal", 500)
    assert crossed(null).tolist() == [d.sign != 0 for d in decided(null)]


def test_looks_without_a_correction_would_decide_too_often() -> None:
    """What the boundaries are for: the ordinary 95% interval at each look."""
    null = null_pairs("normal", 500)
    wrong = 0
    for row in null:
        for n in range(3, MOST + 1):
            half = stats.t.ppf(0.975, n - 1) * row[:n].std(ddof=1) / sqrt(n)
            if abs(row[:n].mean()) > half:
                wrong += 1
                break
    assert wrong > 0.13 * 500


def savings(effect: float, rows: bool) -> tuple[float, float, float]:
    """Share of runs saved, of pairs decided, and of those decided the wrong way.

    Args:
        effect: difference in standard deviations: of the pair's differences, or, with ``rows``, of each row's scores,
            which have nothing in common then. Their difference has a deviation larger by sqrt(2).
    """
    random = np.random.default_rng(2)
    noise = random.standard_normal((2, PAIRS, MOST))
    found = decided(effect + (noise[0] - noise[1] if rows else noise[0]))
    used = sum(d.n for d in found)
    signs = [d.sign for d in found]
    return 1 - used / (PAIRS * MOST), 1 - signs.count(0) / PAIRS, signs.count(-1) / PAIRS


@pytest.mark.parametrize(
    ("effect", "rows", "least"),
    [(2.0, False, 0.40), (3.0, False, 0.55), (2.0, True, 0.28), (3.0, True, 0.45), (4.0, True, 0.55)],
)
def test_runs_are_saved(effect: float, rows: bool, least: float) -> None:
    saved, right, wrong = savings(effect, rows)
    of = "each row's scores" if rows else "the differences"
    print(
        f"{effect:g} deviations of {of}: {saved:.1%} of the runs saved, {right:.1%} decided, {wrong:.2%} wrongly"
    )
    assert saved >= least
    assert right > 0.85
    assert wrong <= 0.001


def test_the_intervals_of_all_looks_hold_together() -> None:
    """Of 2,000 pairs with a difference, the interval at the decision misses it in no more than 5%."""
    truth = 1.5
    values = truth + np.random.default_rng(8).standard_normal((PAIRS, MOST))
    missed = sum(
        not (d.low <= truth <= d.high) for d in decided(values) if d.low is not None and d.high is not None
    )
    assert missed <= 0.05 * PAIRS


@pytest.mark.parametrize("wrong", [(1, 10, 0.05), (5, 4, 0.05), (3, 10, 0.0), (3, 10, 1.0)])
def test_looks_that_cannot_be(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="one seed has no spread"):
        looks(*wrong)


def test_more_pairs_have_wider_intervals() -> None:
    assert looks(3, 10, 0.05 / 6).critical[5] > PLAN.critical[5]
    assert chance_of_a_decision(3, 10, looks(3, 10, 0.05 / 6).level) <= 0.05 / 6
