"""Judges a latency while it is sampled: pass, fail, or undecided. It knows no host, no clock, no runtime.

How often it looks is fixed beforehand, and the error that is allowed is divided over the looks: looking again and
again until something is red would turn noise into verdicts (Bonferroni; most is kept for the last look, as
O'Brien and Fleming do). Error rates are per gate; `Rules.for_family` divides them over several gates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, TypeVar

from pytest_wasmedge.latency.statistics import (
    Interval,
    Pair,
    log_ratios,
    median_interval,
    p_above,
    p_below,
    ratio_estimate,
    ratio_interval,
)

Verdict = Literal["pass", "fail", "undecided"]
T = TypeVar("T")

#: How the error is divided over the looks.
_SHARES = (0.02, 0.08, 0.20, 0.70)
#: Samples before the first look: with fewer, no interval is as sure as we want to be.
_FIRST_LOOK = 16


@dataclass(frozen=True, slots=True)
class Rules:
    """What a gate may get wrong, and how long it may take.

    ``false_alarm``: the chance that what is equal fails; at a ceiling, that it is decided to the wrong side.
    ``false_pass``: that what is as slow as the margin passes. ``margin_error``: that it fails. ``margin``: how much
    slower than its baseline an artifact may be, 0.05 for 5 %. ``repeatability``: how far the median of one machine
    wanders from minute to minute, which no interval of one measurement can see; ceilings allow for it.
    ``most``: samples after which more tell nothing new.
    """

    false_alarm: float = 0.01
    false_pass: float = 0.001
    margin_error: float = 0.05
    margin: float = 0.05
    repeatability: float = 0.03
    budget_s: float = 60.0
    most: int = 2000

    def for_family(self, gates: int) -> Self:
        """Return the rules for one of so many gates, of which together no more may go wrong."""
        return replace(self, false_alarm=self.false_alarm / gates, false_pass=self.false_pass / gates)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its evidence.

    ``estimate``, ``interval`` and ``limit`` are nanoseconds for a ceiling, ratios for pairs; ``count`` is of
    samples or pairs, ``looks`` of looks taken.
    """

    verdict: Verdict
    limit: float
    estimate: float
    interval: Interval | None
    count: int
    looks: int
    elapsed_s: float


def judge_ceiling(
    samples: list[int], draw: Callable[[], int], ceiling_ns: float, rules: Rules, clock: Callable[[], float]
) -> Judgement:
    """Hold the median of a latency against a ceiling; ``draw`` takes one more sample, in nanoseconds.

    ``samples`` are those already taken; what is drawn is added to them. ``clock`` tells seconds.
    """

    def look(share: float) -> Verdict:
        # The error rate is that of each side, and the interval has two.
        between = _widened(median_interval(samples, 2 * rules.false_alarm * share), rules)
        if between and between.high < ceiling_ns:
            return "pass"
        return "fail" if between and between.low > ceiling_ns else "undecided"

    verdict, looks, elapsed_s = _look_by_look(samples, draw, look, rules, clock)
    return Judgement(
        verdict, ceiling_ns, _median(samples), spread(samples, rules), len(samples), looks, elapsed_s
    )


def judge_pairs(
    pairs: list[Pair],
    draw: Callable[[], Pair],
    rules: Rules,
    clock: Callable[[], float],
    limit: float = 0.0,
    *,
    with_estimate: bool = True,
) -> Judgement:
    """Hold the ratio of pairs (baseline, head) against 1 + margin, or against ``limit`` if that is given.

    Fail needs two things: that the head is slower at all, with the error rate of a false alarm, and that it is
    slower than the margin allows, with that of the margin. Estimate and interval take longer than the verdict,
    and can be left out (nan and None).
    """
    most = limit or 1 + rules.margin

    def look(share: float) -> Verdict:
        differences = log_ratios(pairs)
        good = rules.false_alarm if limit else rules.false_pass
        if p_below(differences, math.log(most)) <= good * share:
            return "pass"
        sure = rules.false_alarm if limit else rules.margin_error
        slower = p_above(differences, 0.0) <= rules.false_alarm * share
        return "fail" if slower and p_above(differences, math.log(most)) <= sure * share else "undecided"

    verdict, looks, elapsed_s = _look_by_look(pairs, draw, look, rules, clock)
    estimate = ratio_estimate(pairs) if with_estimate else math.nan
    interval = ratio_interval(pairs, rules.false_alarm) if with_estimate else None
    return Judgement(verdict, most, estimate, interval, len(pairs), looks, elapsed_s)


def spread(samples: Sequence[int], rules: Rules) -> Interval | None:
    """Return the interval of the median that is shown: exact, and widened by what a machine wanders."""
    return _widened(median_interval(samples, rules.false_alarm), rules)


def _look_by_look(
    taken: list[T],
    draw: Callable[[], T],
    look: Callable[[float], Verdict],
    rules: Rules,
    clock: Callable[[], float],
) -> tuple[Verdict, int, float]:
    """Draw and look until there is a verdict, all looks are taken, the time is up, or it clearly will not do."""
    began_s = clock()
    had = len(taken)
    counts = [max(had, _FIRST_LOOK)]
    for index, share in enumerate(_SHARES):
        in_time = True
        while len(taken) < counts[index] and in_time:
            taken.append(draw())
            elapsed_s = clock() - began_s
            # Twice as fast would still be too slow for any verdict.
            hopeless = _affordable(len(taken) - had, elapsed_s, rules) * 2 + had < _fewest(rules)
            in_time = elapsed_s < rules.budget_s and not hopeless
        last = not in_time or index == len(_SHARES) - 1
        verdict = look(_SHARES[-1] if last else share)
        if verdict != "undecided" or last:
            break
        if index == 0:
            counts += _later_looks(counts[0], had, clock() - began_s, rules)
    return verdict, index + 1, clock() - began_s


def _later_looks(first: int, had: int, elapsed_s: float, rules: Rules) -> list[int]:
    """Place the other looks evenly, by factors, up to what the time allows; by cost, never by what was seen."""
    last = max(first, min(_affordable(first - had, elapsed_s, rules) + had, rules.most))
    steps = len(_SHARES) - 1
    return [round(first * (last / first) ** (step / steps)) for step in range(1, steps + 1)]


def _affordable(drawn: int, elapsed_s: float, rules: Rules) -> int:
    """Return how many samples fit into the whole time if so many took so long."""
    return int(rules.budget_s / (elapsed_s / drawn)) if drawn and elapsed_s > 0 else rules.most


def _fewest(rules: Rules) -> int:
    """Return the fewest samples that can decide anything: all on one side, at the last look."""
    return math.ceil(-math.log2(rules.false_alarm * _SHARES[-1]))


def _widened(interval: Interval | None, rules: Rules) -> Interval | None:
    if interval is None:
        return None
    by = 1 + rules.repeatability
    return Interval(interval.low / by, interval.high * by)


def _median(samples: Sequence[int]) -> float:
    ordered = sorted(samples)
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
