"""Decides which of two rows is better while seeds are added, by an interval that may be looked at after each seed.

x_n is the difference of two rows at their n-th common seed (a mean over scenes), t_n the one-sample t statistic of
x_1 ... x_n. An ordinary 95% interval, looked at after every seed from the third to the tenth, leaves zero out by chance
in one null pair of six. Here the maximum number of seeds is known, so the looks are those of a group-sequential test
with Pocock's rule: every look has the same nominal level p, that is |t_n| >= the quantile of Student's t with n - 1
degrees of freedom at 1 - p / 2 (Pocock, Biometrika 64, 1977; Jennison and Turnbull, Group Sequential Methods, 2000,
chapters 4 and 11). p is the largest level for which the chance that any look decides a pair without a difference is at
most SPENT x alpha. So the intervals of all looks together hold with probability 1 - alpha ("repeated confidence
intervals"), for normal differences of unknown variance. Of null pairs 4% are decided; 2.5 to 4.5% where both rows have
uniform, exponential or two-valued noise; 7% where the differences themselves are uniform, as they may be if one of the
rows has no noise.

The chance is bounded by P(A_1) + sum of P(A_n+1 and not A_n), where A_n is "look n decides": exact for two looks, and
9% above the truth for the looks from 3 to 10 at 5%. Each term is an integral over y_n = mean / root mean square of the
first n differences, because y_n is a Markov chain without a difference:
y_n+1 = (sqrt(n) y_n cos w + sin w) / sqrt(n + 1), with w independent of y_n and of density proportional to cos^(n-1) w.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import asin, exp, lgamma, pi, sqrt
from statistics import fmean
from types import MappingProxyType
from typing import Any

SPENT = 0.9
"""Share of alpha that is spent; the rest is kept for differences that are not quite normal."""
NODES = 256


@dataclass(frozen=True)
class Looks:
    """When a pair is looked at, and how far its t statistic must be from zero then."""

    first: int
    last: int
    level: float
    """Nominal level of each look."""
    critical: Mapping[int, float]
    """Number of seeds -> the smallest |t| that decides."""


@dataclass(frozen=True)
class Decision:
    """What is known of a pair: ``low`` and ``high`` bound the mean difference; None before the first look."""

    n: int
    """Seeds that were used: up to the look that decided, or all."""
    mean: float | None
    low: float | None
    high: float | None

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies on one side of zero, and 0 if the pair is undecided."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return 0
        return 1 if self.low > 0 else -1


@cache
def looks(first: int, last: int, alpha: float) -> Looks:
    """The looks after ``first``, ..., ``last`` seeds that decide a pair without a difference with chance <= alpha.

    Several pairs share alpha: alpha / number of pairs for each (Bonferroni).

    Raises:
        ValueError: ``first`` is below 2, ``last`` below ``first``, or alpha not between 0 and 1.
    """
    if not 2 <= first <= last or not 0 < alpha < 1:
        raise ValueError(
            f"looks({first}, {last}, {alpha}): 2 <= first <= last, because one seed has no spread, and 0 < alpha < 1"
        )
    low, high = 0.0, SPENT * alpha  # one look alone may have all of it
    while high - low > 1e-4 * high:
        level = (low + high) / 2
        if chance_of_a_decision(first, last, level) <= SPENT * alpha:
            low = level
        else:
            high = level
    return Looks(first, last, low, MappingProxyType(_critical(first, last, low)))


def decide(differences: Sequence[float], plan: Looks) -> Decision:
    """The first decision that the looks make; later differences do not change it.

    Differences that are all equal have no spread from which a t statistic could be made. They are decided by the sign
    test: n of one sign have the chance 2^(1-n).
    """
    found = Decision(len(differences), fmean(differences) if differences else None, None, None)
    for n in range(plan.first, min(len(differences), plan.last) + 1):
        seen = differences[:n]
        mean = fmean(seen)
        spread = sqrt(sum((x - mean) ** 2 for x in seen) / (n - 1))
        half = plan.critical[n] * spread / sqrt(n)
        if spread <= 1e-12 * abs(mean) and 2.0 ** (1 - n) > plan.level:
            half = abs(mean)
        found = Decision(n, mean, mean - half, mean + half)
        if found.sign:
            break
    return found


def chance_of_a_decision(first: int, last: int, level: float) -> float:
    """An upper bound of the chance that any look decides a pair without a difference."""
    critical = _critical(first, last, level)
    return level + sum(_decides_next(n, critical[n], critical[n + 1]) for n in range(first, last))


def _critical(first: int, last: int, level: float) -> dict[int, float]:
    from scipy.special import stdtrit  # importing it takes longer than the command line may

    return {n: float(-stdtrit(n - 1, level / 2)) for n in range(first, last + 1)}


@cache
def _nodes() -> tuple[Any, Any]:
    """Places and weights of Gauss-Legendre quadrature on [-1, 1]; finding them is slow."""
    import numpy as np

    return np.polynomial.legendre.leggauss(NODES)


def _decides_next(n: int, now: float, then: float) -> float:
    """P(|t_n| < now and |t_n+1| >= then) without a difference."""
    import numpy as np
    from scipy.special import betainc

    def below(w):
        """Distribution function of the angle w, whose density is proportional to cos^(n-1) w."""
        return 0.5 + 0.5 * np.sign(w) * betainc(0.5, n / 2, np.sin(w) ** 2)

    edge = now / sqrt(now**2 + n - 1)  # |t_n| < now is |y_n| < edge
    target = then / sqrt(then**2 + n)
    x, weights = _nodes()
    a = x * asin(edge)  # y_n = sin a, of density proportional to cos^(n-2) a
    norm = sqrt(pi) * exp(lgamma((n - 1) / 2) - lgamma(n / 2))
    # sqrt(n) y_n cos w + sin w = length cos(w - angle)
    along = sqrt(n) * np.sin(a)
    length, angle = np.hypot(along, 1.0), np.arctan2(1.0, along)
    reach = np.arccos(np.minimum(target * sqrt(n + 1) / length, 1.0))
    up = below(np.clip(angle + reach, -pi / 2, pi / 2)) - below(np.clip(angle - reach, -pi / 2, pi / 2))
    return float(2 * asin(edge) * np.sum(weights * np.cos(a) ** (n - 2) * up) / norm)
