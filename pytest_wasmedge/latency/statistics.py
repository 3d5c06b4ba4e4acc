"""Intervals and tests without any assumption about the shape of the noise; pure functions.

Medians: the order statistics' exact interval (binomial; Conover, Practical Nonparametric Statistics, 3.2).
Ratios of pairs: Wilcoxon's signed-rank test on log ratios, its interval and the estimate of Hodges and Lehmann
(Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, 3.1-3.3). It needs only that noise is as likely to
favour one side of a pair as the other, which a random order inside each pair ensures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

#: A pair: nanoseconds of the baseline, nanoseconds of the artifact compared with it.
Pair = tuple[int, int]


class TimedPair(NamedTuple):
    """A pair by the wall clock, and the CPU time of the same two starts; None if the system did not tell both."""

    wall: Pair
    cpu: Pair | None = None


#: Up to this many pairs the distribution of the signed-rank statistic is exact; beyond, normal.
_EXACT_PAIRS = 50
_BISECTIONS = 48


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, in the unit of its samples."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def median_interval(samples: Sequence[float], alpha: float) -> Interval | None:
    """Return the interval that misses the median with a probability of at most ``alpha``, half on each side.

    None if there are too few samples for any interval of that confidence.
    """
    rank = _lower_rank(len(samples), alpha / 2)
    if rank == 0:
        return None
    ordered = sorted(samples)
    return Interval(ordered[rank - 1], ordered[-rank])


@lru_cache(maxsize=4096)
def _lower_rank(count: int, alpha: float) -> int:
    """Return the largest rank whose order statistic is above the median with at most this probability."""
    below, rank = 0.0, 0
    while rank < count // 2:
        below += math.comb(count, rank) / 2**count
        if below > alpha:
            break
        rank += 1
    return rank


def log_ratios(pairs: Sequence[Pair]) -> list[float]:
    """Return the logarithm of head over base of each pair."""
    return [math.log(head_ns / base_ns) for base_ns, head_ns in pairs]


def p_above(differences: Sequence[float], shift: float) -> float:
    """Return the chance of these differences, or larger ones, if they were symmetric around ``shift``.

    One-sided: a small value says that they are above it.
    """
    apart = sorted((value - shift for value in differences if value != shift), key=abs)
    ranks = sum(rank for rank, value in enumerate(apart, start=1) if value > 0)
    return _p_rank_sum(len(apart), ranks)


def p_below(differences: Sequence[float], shift: float) -> float:
    """Return the same chance for the other side: a small value says that they are below ``shift``."""
    return p_above([-value for value in differences], -shift)


def ratio_estimate(pairs: Sequence[Pair]) -> float:
    """Return the ratio of the other time to the baseline's (Hodges and Lehmann, of log ratios)."""
    differences = log_ratios(pairs)
    return math.exp(_crossing(differences, 0.5))


def ratio_interval(pairs: Sequence[Pair], alpha: float) -> Interval | None:
    """Return the interval of that ratio which misses it with a probability of at most ``alpha``.

    None if there are too few pairs for any interval of that confidence.
    """
    differences = log_ratios(pairs)
    if not differences or 0.5 ** len(differences) > alpha / 2:
        return None
    return Interval(
        math.exp(_crossing(differences, alpha / 2)),
        math.exp(-_crossing([-d for d in differences], alpha / 2)),
    )


def _crossing(differences: Sequence[float], p: float) -> float:
    """Return the largest shift that the differences are above with this p-value or less."""
    low, high = min(differences) - 1e-9, max(differences) + 1e-9
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if p_above(differences, middle) <= p:
            low = middle
        else:
            high = middle
    return low


def _p_rank_sum(count: int, ranks: int) -> float:
    """Return the chance that the sum of ranks, each included by the toss of a coin, is at least ``ranks``."""
    if not count:
        return 1.0
    if count <= _EXACT_PAIRS:
        return _tail(count)[ranks]
    mean, variance = count * (count + 1) / 4, count * (count + 1) * (2 * count + 1) / 24
    return 1 - NormalDist().cdf((ranks - 0.5 - mean) / math.sqrt(variance))


@lru_cache(maxsize=_EXACT_PAIRS)
def _tail(count: int) -> tuple[float, ...]:
    """Return the chance of each rank sum or more, for 0 to the largest sum."""
    ways = [1]
    for rank in range(1, count + 1):
        grown = ways + [0] * rank
        for total, number in enumerate(ways):
            grown[total + rank] += number
        ways = grown
    chances, above = [], 0
    for number in reversed(ways):
        above += number
        chances.append(above / 2**count)
    return tuple(reversed(chances))
