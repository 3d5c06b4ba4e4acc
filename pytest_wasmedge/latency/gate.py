"""Judges a latency while it is sampled: pass, fail, or undecided. Independent of hosts, clocks and runtimes.

The number of looks is fixed beforehand, and the allowed error is divided over them (Bonferroni; most is kept for the
last look, as O'Brien and Fleming do): looking until something fails would turn noise into verdicts. Error rates are
per gate; `Rules.for_family` divides them over several gates.
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

#: The part of the error for each look.
_SHARES = (0.02, 0.08, 0.20, 0.70)
#: Samples before the first look; fewer give no interval of the wanted confidence.
_FIRST_LOOK = 16


@dataclass(frozen=True, slots=True)
class Rules:
    """The error rates of a gate, and how long it may take.

    ``false_alarm``: the chance that an equal artifact fails; at a ceiling, of a verdict on the wrong side.
    ``false_pass``: the chance that one as slow as the margin passes; ``margin_error``: that it fails. ``margin``: how
    much slower than its baseline an artifact may be, 0.05 for 5 %. ``repeatability``: how far one machine's median
    drifts from minute to minute, for which ceilings allow. ``budget_s``: seconds. ``most``: the most samples.
    """

    false_alarm: float = 0.01
    false_pass: float = 0.001
    margin_error: float = 0.05
    margin: float = 0.05
    repeatability: float = 0.03
    budget_s: float = 60.0
    most: int = 2000

    def for_family(self, gates: int) -> Self:
        """Return the rules for each of ``gates`` gates that share the error rates."""
        return replace(self, false_alarm=self.false_alarm / gates, false_pass=self.false_pass / gates)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its evidence.

    ``estimate``, ``interval`` and ``limit`` are nanoseconds for a ceiling, ratios for pairs; ``count`` is the number
    of samples or pairs.
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
    """Compare the median of a latency with a ceiling; ``draw`` takes one more sample, in nanoseconds.

    ``samples`` are those already taken; new ones are added to them. ``clock`` returns seconds.
    """

    def look(share: float) -> Verdict:
        # The error rate is for each side of the interval.
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
    """Compare the ratio of pairs (baseline, head) with 1 + margin, or with ``limit`` if it is given.

    A fail needs two tests: the head is slower at all, at the error rate of a false alarm, and slower than the margin,
    at that of the margin. Estimate and interval take longer than the verdict; without them they are nan and None.
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
    """Return the interval of the median for people: exact, then widened by ``repeatability``."""
    return _widened(median_interval(samples, rules.false_alarm), rules)


def _look_by_look(
    taken: list[T],
    draw: Callable[[], T],
    look: Callable[[float], Verdict],
    rules: Rules,
    clock: Callable[[], float],
) -> tuple[Verdict, int, float]:
    """Draw and look until there is a verdict, or no looks or time are left, or the time clearly will not do."""
    began_s = clock()
    had = len(taken)
    counts = [max(had, _FIRST_LOOK)]
    for index, share in enumerate(_SHARES):
        in_time = True
        while len(taken) < counts[index] and in_time:
            taken.append(draw())
            elapsed_s = clock() - began_s
            # Even twice as fast would be too slow for any verdict.
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
    """Space the other looks by equal factors, up to what the time allows; by cost, never by the samples' values."""
    last = max(first, min(_affordable(first - had, elapsed_s, rules) + had, rules.most))
    steps = len(_SHARES) - 1
    return [round(first * (last / first) ** (step / steps)) for step in range(1, steps + 1)]


def _affordable(drawn: int, elapsed_s: float, rules: Rules) -> int:
    """Return how many samples fit into the budget if ``drawn`` took ``elapsed_s``."""
    return int(rules.budget_s / (elapsed_s / drawn)) if drawn and elapsed_s > 0 else rules.most


def _fewest(rules: Rules) -> int:
    """Return the fewest samples that allow a verdict: all on one side, at the last look."""
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
