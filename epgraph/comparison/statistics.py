"""Paired tests over common seeds, and what they can say.

The runs of two settings with one seed see the examples in the same order. So their difference d varies less than
either value, and tests are paired. With mean d̄ and sample deviation s_d over n seeds:

- effect size d_z = d̄ / s_d;
- t test: t = d_z √n with n − 1 degrees of freedom, two-sided;
- Wilcoxon's signed-rank test, exact: its least p is 2 / 2ⁿ;
- seeds needed: the least n at which a t test at 5 % has power 0.8 for this d_z. The power is that of the noncentral t
  distribution with noncentrality d_z √n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.05
POWER = 0.8
MOST_NEEDED = 1000
"""Number of seeds up to which it is computed how many would settle a difference."""


@dataclass(frozen=True)
class PairedTest:
    """Two settings compared over their common seeds; differences are the other's minus the baseline's.

    Attributes
    ----------
    difference, deviation
        Mean and sample deviation of the differences; None without at least one and two seeds.
    low, high
        Interval of the mean difference, 95 %.
    t_p, wilcoxon_p
        Two-sided p of the t test and of Wilcoxon's test; None where there is no spread.
    holm_p
        ``t_p`` corrected for the number of settings that are compared with the baseline (Holm).
    effect
        Cohen's d_z.
    needed
        Seeds that settle a difference of this size; None where more than ``MOST_NEEDED``, or unknown.
    """

    baseline: str
    other: str
    seeds: tuple[int, ...]
    difference: float | None = None
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    t_p: float | None = None
    wilcoxon_p: float | None = None
    holm_p: float | None = None
    effect: float | None = None
    needed: int | None = None


def paired(baseline: str, other: str, seeds: Sequence[int], a: Sequence[float], b: Sequence[float]) -> PairedTest:
    """Compare values of two settings, one pair a seed."""
    names = (baseline, other, tuple(seeds))
    differences = [y - x for x, y in zip(a, b, strict=True)]
    n = len(differences)
    if n == 0:
        return PairedTest(*names)
    mean = math.fsum(differences) / n
    if n == 1:
        return PairedTest(*names, difference=mean)
    deviation = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1))
    # Differences that differ by rounding alone have no spread.
    if deviation <= 1e-12 * max(map(abs, (*a, *b))):
        return PairedTest(*names, difference=mean, deviation=0.0)
    from scipy import stats

    t_test = stats.ttest_rel(b, a)
    interval = t_test.confidence_interval(1 - LEVEL)
    effect = mean / deviation
    return PairedTest(
        *names,
        difference=mean,
        deviation=deviation,
        low=float(interval.low),
        high=float(interval.high),
        t_p=float(t_test.pvalue),
        # Equal values on a seed say nothing about the sign: they are left out, as Wilcoxon did.
        wilcoxon_p=float(stats.wilcoxon(b, a).pvalue),
        effect=effect,
        needed=seeds_needed(effect),
    )


def seeds_needed(effect: float) -> int | None:
    """Return the least number of seeds at which a paired t test settles an effect d_z; None beyond ``MOST_NEEDED``."""
    if power(effect, MOST_NEEDED) < POWER:
        return None
    low, high = 1, MOST_NEEDED  # one seed settles nothing, so many do
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle) >= POWER else (middle, high)
    return high


def power(effect: float, seeds: int) -> float:
    """Return the probability that a two-sided paired t test at 5 % finds an effect d_z."""
    from scipy import stats

    degrees, shift = seeds - 1, abs(effect) * math.sqrt(seeds)
    critical = stats.t.ppf(1 - LEVEL / 2, degrees)
    # Significant, with the wrong sign: at most 1e-10 beyond a shift of 5, where scipy has no value for it.
    wrong = float(stats.nct.cdf(-critical, degrees, shift)) if shift < 5 else 0.0
    return float(stats.nct.sf(critical, degrees, shift)) + wrong


def holm(values: Sequence[float]) -> list[float]:
    """Correct p values for their number (Holm, 1979)."""
    corrected = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = largest
    return corrected
