"""Intervals and tests are those of the books, checked against counting and against another implementation."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest
from scipy import stats as scipy_stats  # type: ignore[import-untyped]

from pytest_wasmedge.latency.statistics import (
    Interval,
    log_ratios,
    median_interval,
    p_above,
    p_below,
    ratio_estimate,
    ratio_interval,
)


@pytest.mark.parametrize(
    ("count", "alpha", "rank"), [(6, 0.05, 1), (10, 0.05, 2), (25, 0.05, 8), (100, 0.01, 37)]
)
def test_the_interval_of_a_median_is_exact(count: int, alpha: float, rank: int) -> None:
    """Its ranks are those of the printed tables of the sign test."""
    samples = list(range(1, count + 1))

    assert median_interval(samples, alpha) == Interval(rank, count + 1 - rank)
    # The next rank inwards would be wrong more often than allowed, this one is not.
    assert (
        2 * scipy_stats.binom.cdf(rank - 1, count, 0.5) <= alpha < 2 * scipy_stats.binom.cdf(rank, count, 0.5)
    )


def test_too_few_samples_have_no_interval() -> None:
    """An interval that cannot be computed is none: never a point."""
    assert median_interval([1, 2, 3, 4, 5], 0.05) is None
    assert median_interval([], 0.05) is None
    assert ratio_interval([(100, 100)] * 3, 0.05) is None
    assert ratio_interval([], 0.05) is None


def test_signed_ranks_are_counted_out() -> None:
    """With a few differences, the p-value is the share of all choices of signs that do at least as well."""
    differences = [0.3, -0.1, 0.25, 0.7, -0.02, 0.4]
    sizes = sorted(map(abs, differences))
    rank_of = {size: rank for rank, size in enumerate(sizes, start=1)}
    seen = sum(rank_of[value] for value in differences if value > 0)
    sums = [
        sum(rank for rank, sign in enumerate(signs, start=1) if sign)
        for signs in product([0, 1], repeat=len(differences))
    ]

    assert p_above(differences, 0.0) == sum(total >= seen for total in sums) / len(sums)
    assert p_below(differences, 0.0) == sum(total <= seen for total in sums) / len(sums)


@pytest.mark.parametrize("count", [8, 30, 50, 51, 400])
def test_signed_ranks_agree_with_scipy(count: int) -> None:
    """Counted out or by the normal distribution: what scipy says too."""
    rng = random.Random(count)
    differences = [rng.gauss(0.03, 0.1) for _ in range(count)]
    method = "exact" if count <= 50 else "asymptotic"
    theirs = scipy_stats.wilcoxon(differences, alternative="greater", method=method, correction=count > 50)

    assert p_above(differences, 0.0) == pytest.approx(float(theirs.pvalue), rel=1e-9)


def test_the_estimate_is_the_median_of_all_means_of_two() -> None:
    """Hodges' and Lehmann's estimate, and the interval's ends are means of two log ratios as well."""
    rng = random.Random(7)
    pairs = [(10**8, round(10**8 * math.exp(rng.gauss(0.1, 0.08)))) for _ in range(25)]
    logs = log_ratios(pairs)
    means = sorted((logs[i] + logs[j]) / 2 for i in range(25) for j in range(i, 25))
    interval = ratio_interval(pairs, 0.01)

    assert math.log(ratio_estimate(pairs)) == pytest.approx(means[len(means) // 2], abs=2e-3)
    assert interval is not None
    for end in (interval.low, interval.high):
        assert min(abs(math.log(end) - mean) for mean in means) < 1e-6
    assert interval.low < ratio_estimate(pairs) < interval.high


def test_the_interval_keeps_its_word() -> None:
    """Of 2,000 intervals at 90 %, drawn with a fixed seed from noise with heavy tails, about 90 % hold the truth."""
    rng = random.Random(1)

    def pair() -> tuple[int, int]:
        noise = [rng.gauss(0, 0.05) + (rng.expovariate(4) if rng.random() < 0.1 else 0) for _ in range(2)]
        return round(10**8 * math.exp(noise[0])), round(1.2 * 10**8 * math.exp(noise[1]))

    held = 0
    for _ in range(2000):
        interval = ratio_interval([pair() for _ in range(12)], 0.1)
        held += interval is not None and 1.2 in interval

    assert 0.89 <= held / 2000 <= 0.93


def test_one_outlier_moves_little() -> None:
    """Nothing is dropped, and a start that took a minute does not decide."""
    pairs = [(100, 101), (100, 99), (100, 102), (100, 98)] * 6
    spoiled = [*pairs[1:], (100, 60_000)]

    assert ratio_estimate(spoiled) == pytest.approx(ratio_estimate(pairs), abs=0.01)
    wide, wider = ratio_interval(pairs, 0.05), ratio_interval(spoiled, 0.05)
    assert wide is not None
    assert wider is not None
    assert wider.high < 1.05
