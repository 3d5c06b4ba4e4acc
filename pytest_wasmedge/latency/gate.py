"""Judges a latency while it is sampled: pass, fail, or undecided. Independent of hosts, clocks and runtimes.

The number of looks is fixed beforehand, and the allowed error is divided over them (Bonferroni; most is kept for the
last look, as O'Brien and Fleming do; for a multiple of the floor each has the same, as Pocock does): looking until
something fails would turn noise into verdicts. Error rates are per gate; `Rules.for_family` divides them over several.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Generic, Literal, Self, TypeVar

from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.latency.statistics import (
    Interval,
    Pair,
    TimedPair,
    log_ratios,
    median_interval,
    p_above,
    p_below,
    ratio_estimate,
    ratio_interval,
)

_SURE = NormalDist().inv_cdf
Verdict = Literal["pass", "fail", "undecided"]
T = TypeVar("T")
#: Is told between draws how many of how many are done, and how many seconds that took and may take yet.
Watch = Callable[[int, int, float, float], None]

#: The part of the error for each look.
_SHARES = (0.02, 0.08, 0.20, 0.70)
#: A start is mostly far from a multiple of the floor: its first look may have more of the error, so that fewer pairs
#: decide it, but no fewer than are usually taken.
_EVEN_SHARES, _EARLY_LOOK = (0.25, 0.25, 0.25, 0.25), 12
#: The fewest samples before the first look.
FIRST_LOOK = 16
#: With fewer, neither their scatter nor their middle says anything yet.
_SCATTER_KNOWN = 3


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
    of samples or pairs. ``cpu_estimate`` and ``cpu_interval`` are ratios of CPU time, where that was judged, too.
    """

    verdict: Verdict
    limit: float
    estimate: float
    interval: Interval | None
    count: int
    looks: int
    elapsed_s: float
    cpu_estimate: float | None = None
    cpu_interval: Interval | None = None


class Gate(Generic[T]):
    """One judgement under way: draws samples or pairs, and looks at them, until there is a ``verdict``.

    ``taken`` are those already there; new ones are added. ``look`` returns the verdict at a part of the error, and
    ``conclude`` the judgement from the verdict, the number of looks and the seconds that the draws have taken.
    ``needed`` returns about how many decide it by their scatter alone, how many by their middle, too, and whether that
    seems slower (`in_rounds`).
    """

    def __init__(
        self,
        taken: list[T],
        draw: Callable[[], T],
        look: Callable[[float], Verdict],
        conclude: Callable[[Verdict, int, float], Judgement],
        rules: Rules,
        clock: Callable[[], float],
        watch: Watch,
        needed: Callable[[], tuple[int, int, bool]] = lambda: (0, 0, False),
        *,
        shares: Sequence[float] = _SHARES,
        first_look: int = FIRST_LOOK,
    ) -> None:
        self._needed, self._shares = needed, shares
        self._taken, self._draw, self._look, self._conclude = taken, draw, look, conclude
        self._watch = watch
        self._rules, self._clock = rules, clock
        self._had = len(taken)
        # The more gates share the error, the more samples it takes before any of them can be decided.
        self._counts = [max(self._had, first_look, _fewest(rules, shares[0]))]
        self._looks = 0
        #: Since the last draw.
        self._urgency: tuple[bool, float] | None = None
        self._error: WasmEdgeError | None = None
        self.elapsed_s = 0.0
        self.verdict: Verdict | None = None

    @property
    def drawn(self) -> int:
        """How many it has drawn."""
        return len(self._taken) - self._had

    @property
    def next_look_s(self) -> float:
        """How many seconds it will take to the next look, as far as is known: 0 before the first draw."""
        return (self._counts[self._looks] - len(self._taken)) * self._draw_s

    @property
    def urgency(self) -> tuple[bool, float]:
        """Whether it seems equal, and how many seconds may decide it yet, as far as is known: the least goes first."""
        if self._urgency is None:
            wanted, slower = self._needed()[1:] if self.drawn >= _SCATTER_KNOWN else (0, False)
            left_s = max(self.next_look_s, (wanted - len(self._taken)) * self._draw_s)
            self._urgency = not slower, left_s
        return self._urgency

    @property
    def _draw_s(self) -> float:
        return self.elapsed_s / self.drawn if self.drawn else 0.0

    def run(self) -> Judgement:
        """Draw until there is a verdict, or no looks or time are left, or the time clearly will not do."""
        while self.verdict is None:
            self.advance(self._rules.budget_s)
            if self.verdict is None and self.drawn:
                self._tell()
                # Even twice as fast would be too slow for any verdict.
                fewest = _fewest(self._rules, self._shares[-1])
                hopeless = self._affordable(self._rules.budget_s) * 2 + self._had < fewest
                if hopeless or self.elapsed_s >= self._rules.budget_s:
                    self.give_up()
        return self.judgement()

    def advance(self, budget_s: float, *, fair_s: float = math.inf) -> None:
        """Draw once, and look if that was enough for the next look; further looks are planned for this budget.

        Beyond ``fair_s`` only up to three times what the scatter of the first ones says that it takes.
        """
        if len(self._taken) < self._counts[self._looks]:
            began_s = self._clock()
            self._urgency = None
            self._taken.append(self._draw())
            self.elapsed_s += self._clock() - began_s
        if len(self._taken) < self._counts[self._looks]:
            return
        if self._looks == 0:
            self._plan(min(budget_s, max(fair_s, 3 * self._needed()[0] * self._draw_s)))
        self._look_once(last=self._looks == len(self._shares) - 1)

    def give_up(self) -> None:
        """Look for the last time."""
        self._look_once(last=True)

    def leave(self) -> None:
        """End it as undecided, without another look."""
        self.verdict = "undecided"

    def break_off(self, error: WasmEdgeError) -> None:
        """End it by an error, which `judgement` raises."""
        self.verdict, self._error = "undecided", error

    def judgement(self) -> Judgement:
        """Return the judgement; there is a verdict. Raises the error that broke it off."""
        if self._error:
            raise self._error
        assert self.verdict
        return self._conclude(self.verdict, self._looks, self.elapsed_s)

    def _tell(self) -> None:
        left_s = max(0.0, self._rules.budget_s - self.elapsed_s)
        self._watch(len(self._taken), self._counts[self._looks], self.elapsed_s, left_s)

    def _look_once(self, *, last: bool) -> None:
        verdict = self._look(self._shares[-1 if last else self._looks])
        self._looks += 1
        if verdict != "undecided" or last:
            self.verdict = verdict

    def _plan(self, budget_s: float) -> None:
        """Space the other looks by equal factors, up to what the time allows; never by which side is slower."""
        first = self._counts[0]
        last = max(first, min(self._affordable(budget_s) + self._had, self._rules.most))
        steps = len(self._shares) - 1
        self._counts += [round(first * (last / first) ** (step / steps)) for step in range(1, steps + 1)]

    def _affordable(self, budget_s: float) -> int:
        """Return how many draws fit into the budget."""
        timed = self.drawn and self.elapsed_s > 0
        return int(budget_s / (self.elapsed_s / self.drawn)) if timed else self._rules.most


def unwatched(done: int, of: int, spent_s: float, left_s: float) -> None:
    """Tell nobody."""


def judge_ceiling(
    samples: list[int],
    draw: Callable[[], int],
    ceiling_ns: float,
    rules: Rules,
    clock: Callable[[], float],
    watch: Watch = unwatched,
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

    def conclude(verdict: Verdict, looks: int, elapsed_s: float) -> Judgement:
        between = spread(samples, rules)
        return Judgement(verdict, ceiling_ns, _median(samples), between, len(samples), looks, elapsed_s)

    return Gate(samples, draw, look, conclude, rules, clock, watch).run()


def multiple_gate(
    draw: Callable[[], Pair],
    limit: float,
    rules: Rules,
    clock: Callable[[], float],
    watch: Watch = unwatched,
) -> Gate[Pair]:
    """Return the gate that compares the ratio of pairs (floor, artifact) with a multiple, ``limit``."""
    pairs: list[Pair] = []

    def look(share: float) -> Verdict:
        differences = log_ratios(pairs)
        if p_below(differences, math.log(limit)) <= rules.false_alarm * share:
            return "pass"
        return "fail" if p_above(differences, math.log(limit)) <= rules.false_alarm * share else "undecided"

    def conclude(verdict: Verdict, looks: int, elapsed_s: float) -> Judgement:
        return Judgement(verdict, limit, *_ratio(pairs, rules), len(pairs), looks, elapsed_s)

    return Gate(pairs, draw, look, conclude, rules, clock, watch, shares=_EVEN_SHARES, first_look=_EARLY_LOOK)


def baseline_gate(
    draw: Callable[[], TimedPair],
    rules: Rules,
    clock: Callable[[], float],
    *,
    cpu: bool,
    with_estimate: bool = True,
) -> Gate[TimedPair]:
    """Return the gate that compares the ratio of pairs (baseline, head) with 1 + margin, by wall and by CPU time.

    A fail takes two tests of either: the head is slower at all, at the error rate of a false alarm, and slower than
    the margin, at that of the margin. A pass takes one within the margin at the rate of a false pass, whichever is
    less noisy, and the other one at that of the margin: what waits takes no CPU time, what runs beside takes no other.
    With ``cpu`` both share the error; a look at pairs without CPU time is at the wall clock alone. Estimates and
    intervals take longer than the verdict; without them they are nan and None.
    """
    pairs: list[TimedPair] = []
    each = rules.for_family(2) if cpu else rules
    most = math.log(1 + rules.margin)

    def look(share: float) -> Verdict:
        measured = [log_ratios(walls(pairs))]
        if cpu and (told := cpus(pairs)):
            measured.append(log_ratios(told))
        for differences in measured:
            slower = p_above(differences, 0.0) <= each.false_alarm * share
            if slower and p_above(differences, most) <= each.margin_error * share:
                return "fail"
        below = [p_below(differences, most) for differences in measured]
        good = min(below) <= each.false_pass * share and max(below) <= each.margin_error
        return "pass" if good else "undecided"

    def conclude(verdict: Verdict, looks: int, elapsed_s: float) -> Judgement:
        timed, told = (walls(pairs), cpus(pairs)) if with_estimate else ([], [])
        estimate, between = _ratio(timed, each)
        cpu_estimate, cpu_between = _ratio(told, each) if cpu and told else (None, None)
        return Judgement(
            verdict,
            1 + rules.margin,
            estimate,
            between,
            len(pairs),
            looks,
            elapsed_s,
            cpu_estimate,
            cpu_between,
        )

    def needed() -> tuple[int, int, bool]:
        measured = [log_ratios(walls(pairs)), log_ratios(cpus(pairs)) if cpu else []]
        both = [_needed(differences, each) for differences in measured if differences]
        slower = any(statistics.median(each) > most / 2 for each in measured if each)
        return min(one for one, _ in both), min(other for _, other in both), slower

    return Gate(pairs, draw, look, conclude, each, clock, unwatched, needed)


def walls(pairs: Sequence[TimedPair]) -> list[Pair]:
    """Return the pairs by the wall clock."""
    return [pair.wall for pair in pairs]


def cpus(pairs: Sequence[TimedPair]) -> list[Pair]:
    """Return the pairs by CPU time; none if that of any is not known."""
    told = [pair.cpu for pair in pairs if pair.cpu]
    return told if len(told) == len(pairs) else []


def _ratio(pairs: Sequence[Pair], rules: Rules) -> tuple[float, Interval | None]:
    return (ratio_estimate(pairs), ratio_interval(pairs, rules.false_alarm)) if pairs else (math.nan, None)


def pairs_needed(pairs: Sequence[TimedPair], rules: Rules) -> int:
    """Return about how many pairs would decide, if these tell how much they scatter and where their middle is.

    The less noisy of wall clock and CPU time decides.
    """
    measured = [log_ratios(walls(pairs)), log_ratios(cpus(pairs))]
    return min(_needed(differences, rules)[1] for differences in measured if differences or not pairs)


def _needed(differences: Sequence[float], rules: Rules) -> tuple[int, int]:
    """Return about how many such differences decide: by their scatter alone, if all is equal, and by their middle, too.

    By the normal distribution: the middle has to be as many standard errors from the margin as the error rate asks. At
    the margin itself no number is enough; a tenth of the margin is taken for the least distance.
    """
    fewest = _fewest(rules)
    if len(differences) < 2:
        return fewest, fewest
    margin = math.log(1 + rules.margin)
    # The scatter around nothing: it is the same whichever side of a pair is slower.
    scatter = math.sqrt(statistics.fmean(each * each for each in differences))
    passes, fails = (_SURE(1 - error * _SHARES[-1]) for error in (rules.false_pass, rules.margin_error))
    least = max(margin / 10, 0.001)
    middle = statistics.median(differences)
    apart = max(abs(margin - middle), least)
    # Not by `statistics.stdev`, whose exact fractions take longer than a start.
    around = math.sqrt(statistics.fmean((each - middle) ** 2 for each in differences))
    known = (fails if middle > margin else passes) * around / apart
    return (
        max(fewest, math.ceil((passes * scatter / max(margin, least)) ** 2)),
        max(fewest, math.ceil(known**2)),
    )


def spread(samples: Sequence[int], rules: Rules) -> Interval | None:
    """Return the interval of the median for people: exact, then widened by ``repeatability``."""
    return _widened(median_interval(samples, rules.false_alarm), rules)


def _fewest(rules: Rules, share: float = _SHARES[-1]) -> int:
    """Return the fewest samples that allow a verdict, all on one side, at this part of the error: the last look's."""
    return math.ceil(-math.log2(rules.false_alarm * share))


def _widened(interval: Interval | None, rules: Rules) -> Interval | None:
    if interval is None:
        return None
    by = 1 + rules.repeatability
    return Interval(interval.low / by, interval.high * by)


def _median(samples: Sequence[int]) -> float:
    ordered = sorted(samples)
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
