"""A latency under test: takes as many samples as a verdict needs, and explains the verdict."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Self

from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.gate import (
    Judgement,
    Rules,
    Verdict,
    Watch,
    baseline_gate,
    judge_ceiling,
    multiple_gate,
    pairs_needed,
    spread,
    unwatched,
)
from pytest_wasmedge.latency.sampling import Sample, median_phases
from pytest_wasmedge.latency.statistics import Interval, TimedPair
from pytest_wasmedge.latency.units import Duration, FloorMultiple, Limit, parse_limit

#: Called with the title of a measurement and what is counted; shows it while it is entered.
Watching = Callable[[str, str], AbstractContextManager[Watch]]
#: Samples of the floor that explain a failure.
_FLOOR_SAMPLES = 5
#: No further first sample is begun after this time.
_FIRST_S = 4.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one comparison; its plain values can be sent between processes.

    ``estimate`` and the interval from ``low`` to ``high``, None if there was none, are nanoseconds, or ratios if
    ``limit`` is one; ``count`` is the number of samples or pairs.
    """

    runtime: str
    kind: str
    limit: str
    verdict: Verdict
    sentence: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0


class Measurement:
    """Samples of one kind on one runtime; only `take` and comparisons of the `median` take any.

    ``draw`` takes one sample, ``draw_floor`` one of the same start with an artifact that does nothing. Starts with
    ``first`` samples, including ``earlier`` ones; slow hosts get as many as fit in four seconds. A comparison takes
    more until there is a verdict; for a multiple of the floor it takes pairs. An undecided comparison is true, or
    false if ``strict``; ``findings`` has every comparison. ``watching`` shows each.
    """

    def __init__(
        self,
        runtime: str,
        kind: str,
        draw: Callable[[], Sample],
        first: int,
        *,
        rules: Rules,
        rng: random.Random,
        earlier: Sequence[Sample] = (),
        draw_floor: Callable[[], Sample] | None = None,
        strict: bool = False,
        clock: Callable[[], float] = time.monotonic,
        watching: Watching = lambda title, unit: nullcontext(unwatched),
    ) -> None:
        #: The runtime's name, and what is measured with its cache state: ``cold/code-cache``, ``warm/tiny`` …
        self.runtime, self.kind = runtime, kind
        self._draw, self._draw_floor, self._first = draw, draw_floor, first
        self._rules, self._rng, self._strict, self._clock = rules, rng, strict, clock
        self._watching = watching
        #: All samples so far, in their order; none is dropped.
        self.samples: list[Sample] = list(earlier)
        self.floor: list[Sample] = []
        self.findings: list[Finding] = []
        self._compared = 1

    def __repr__(self) -> str:
        return f"<{self.kind} of {self.runtime}, n={len(self.samples)}>"

    def take(self, count: int | None = None) -> Self:
        """Take ``count`` more samples; by default the first ones, if they are not taken yet."""
        if count is not None:
            for _ in range(count):
                self._next()
            return self
        until_s = self._clock() + _FIRST_S
        while len(self.samples) < self._first and (not self.samples or self._clock() < until_s):
            self._next()
        return self

    @property
    def elapsed_ns(self) -> tuple[int, ...]:
        """The raw samples in nanoseconds, in their order."""
        return tuple(sample.elapsed_ns for sample in self.samples)

    @property
    def median_ns(self) -> int:
        """The median, in nanoseconds. Raises LatencyError if there are no samples yet."""
        return round(statistics.median(self._require_samples()))

    @property
    def phases_ns(self) -> dict[str, int]:
        """The median of each phase that every sample has, in nanoseconds."""
        return median_phases(self.samples)

    @property
    def interval(self) -> Interval | None:
        """The interval of the median in nanoseconds; None with too few samples. Raises LatencyError without any."""
        return spread(self._require_samples(), self._rules)

    @property
    def median(self) -> Median:
        """The median as something to compare: ``assert cold_start.median < ms(25)``."""
        return Median(self)

    def judge(self, limit: Limit | str) -> Finding:
        """Compare the median with a limit: ``ms(25)``, ``"25ms"`` or ``"3.5x floor"``. Raises LatencyError."""
        limit = parse_limit(limit) if isinstance(limit, str) else limit
        with self._watching(f"{self.kind} of {self.runtime}", "samples") as watch:
            if isinstance(limit, FloorMultiple):
                judgement = self._judge_multiple(limit, watch)
            else:
                judgement = self._judge(limit, watch)
        sentence = self._sentence(judgement, limit)
        evidence = _evidence(judgement)
        finding = Finding(self.runtime, self.kind, str(limit), judgement.verdict, sentence, *evidence)
        self.findings.append(finding)
        self._compared = 1
        if not self.holds(finding) and self._draw_floor and not self.floor:
            # Now, because reading the explanation must not start hosts.
            self.floor = [self._draw_floor() for _ in range(_FLOOR_SAMPLES)]
        return finding

    def holds_all(self, limits: Sequence[Limit | str]) -> bool:
        """Judge every limit, also after one that does not hold, and return whether all do."""
        findings = [self.judge(limit) for limit in limits]
        self._compared = len(findings)
        return all(map(self.holds, findings))

    def holds(self, finding: Finding) -> bool:
        """Return whether the finding is a pass, or undecided and not ``strict``."""
        return finding.verdict == "pass" or (finding.verdict == "undecided" and not self._strict)

    def explanation(self) -> list[str]:
        """Return the lines for a failed comparison: median and interval, phases, floor, and what to do."""
        last = self.findings[-self._compared :]
        failed = [finding for finding in last if not self.holds(finding)] or last
        lines = [finding.sentence for finding in failed]
        if phases := self.phases_ns:
            lines.append("phases: " + ", ".join(f"{name} {_ms(value)}" for name, value in phases.items()))
        if self.floor and self.samples:
            floor_ns = statistics.median(sample.elapsed_ns for sample in self.floor)
            over_ns = self.median_ns - floor_ns
            costs = f"costs {_ms(over_ns)} on top" if over_ns > 0 else "costs nothing measurable on top"
            lines.append(
                f"floor (an artifact that does nothing, n={len(self.floor)}): {_ms(floor_ns)}; the artifact {costs}"
            )
        if failed and all(finding.verdict == "undecided" for finding in failed):
            remedy = (
                "give it more time (--wasm-latency-budget), move the ceiling away from the median, "
                "or leave out --wasm-strict-latency"
            )
        else:
            remedy = (
                "find the phase that grew (--wasm-against=BASE.wasm compares with another artifact), or raise "
                "the ceiling (--wasm-update-contract writes what was measured, with head-room)"
            )
        return [*lines, f"what to do: {remedy}"]

    def _judge(self, ceiling: Duration, watch: Watch) -> Judgement:
        taken = list(self.take().elapsed_ns)
        return judge_ceiling(
            taken, lambda: self._next().elapsed_ns, ceiling.ns, self._rules, self._clock, watch
        )

    def _judge_multiple(self, limit: FloorMultiple, watch: Watch) -> Judgement:
        draw_floor = self._draw_floor
        if draw_floor is None:
            raise LatencyError(f"{self.kind} has no floor to compare with: give its ceiling in ms.")
        if not self.samples:
            # The first start prepares things for later ones: it is kept, but not in a pair.
            self._next()

        def pair() -> tuple[int, int]:
            sample, floor = _in_random_order(self._rng, self._next, draw_floor)
            self.floor.append(floor)
            return floor.elapsed_ns, sample.elapsed_ns

        return multiple_gate(pair, limit.factor, self._rules, self._clock, watch).run()

    def _next(self) -> Sample:
        self.samples.append(self._draw())
        return self.samples[-1]

    def _require_samples(self) -> tuple[int, ...]:
        if not self.samples:
            raise LatencyError(
                f"{self.runtime} {self.kind}: no samples yet. Call take(), or compare the median with a limit."
            )
        return self.elapsed_ns

    def _sentence(self, judgement: Judgement, limit: Limit) -> str:
        sure = f"{1 - self._rules.false_alarm:.4%}".rstrip("0%").rstrip(".")
        if isinstance(limit, FloorMultiple):
            found, between = f"{judgement.estimate:.2f}x floor", _between(judgement.interval, digits=2)
        else:
            found, between = _ms(judgement.estimate), _between(judgement.interval, 1e6, 1, " ms")
        word = {"pass": "under", "fail": "OVER", "undecided": "undecided about"}[judgement.verdict]
        return (
            f"{self.runtime} {self.kind}: median {found}, {sure} % interval {between}, n={judgement.count}, "
            f"{judgement.elapsed_s:.1f} s: {word} its ceiling of {limit}"
        )


class Median:
    """The median of a measurement; comparing it with a limit, or with several, judges it."""

    def __init__(self, measurement: Measurement) -> None:
        self.measurement = measurement

    def __lt__(self, limit: Limit | str | tuple[Limit | str, ...]) -> bool:
        limits = limit if isinstance(limit, tuple) else (limit,)
        if not all(isinstance(each, Duration | FloorMultiple | str) for each in limits):
            return NotImplemented
        return self.measurement.holds_all(limits)

    __le__ = __lt__

    def __repr__(self) -> str:
        return f"<median {_ms(self.measurement.median_ns) if self.measurement.samples else 'not taken'}>"


def _in_random_order(
    rng: random.Random, draw: Callable[[], Sample], draw_other: Callable[[], Sample]
) -> tuple[Sample, Sample]:
    """Take a pair of samples, either one first: some hosts are slower every second time."""
    if rng.random() < 0.5:
        return draw(), draw_other()
    other = draw_other()
    return draw(), other


def _between(interval: Interval | None, unit: float = 1, digits: int = 3, suffix: str = "") -> str:
    if interval is None:
        return "none"
    return f"[{interval.low / unit:.{digits}f}, {interval.high / unit:.{digits}f}]{suffix}"


def _ms(elapsed_ns: float) -> str:
    return f"{elapsed_ns / 1e6:.1f} ms"


class Comparison:
    """Cold starts of an artifact beside those of its baseline on one runtime, in pairs in random order.

    Its ``gate`` draws the pairs, alone or by turns with others (`in_rounds`); then there is a `finding`. ``same``
    returns whether both give the same answer, once both have started. Without a ``first`` start, of either, the first
    pair is drawn at once, and not counted: it prepares things for later ones.
    """

    def __init__(
        self,
        draw_base: Callable[[], Sample],
        draw_head: Callable[[], Sample],
        same: Callable[[], bool] = lambda: True,
        *,
        rules: Rules,
        rng: random.Random,
        first: Sample | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        def pair() -> TimedPair:
            self._samples.append(_in_random_order(rng, draw_base, draw_head))
            return timed(*self._samples[-1])

        self._first = first or _in_random_order(rng, draw_base, draw_head)[1]
        self._rules, self.same = rules, same
        #: Those of all pairs, the baseline's first.
        self._samples: list[tuple[Sample, Sample]] = []
        self.gate = baseline_gate(pair, rules, clock, cpu=bool(self._first.cpu_ns))

    def finding(self) -> Finding:
        """Return the result of the gate, which has its verdict; if that is undecided, with what more it would take.

        Raises the error that broke the gate off.
        """
        judgement, margin = self.gate.judgement(), self._rules.margin
        word = {"pass": "within", "fail": "BEYOND", "undecided": "undecided about"}[judgement.verdict]
        sentence = (
            f"{self._first.runtime} {self._first.kind}: {judgement.estimate:.3f} times the baseline, "
            f"interval {_between(judgement.interval)}, "
        )
        if judgement.cpu_estimate is not None:
            sentence += (
                f"in CPU time {judgement.cpu_estimate:.3f}, interval {_between(judgement.cpu_interval)}, "
            )
        sentence += f"{judgement.count} pairs, {judgement.elapsed_s:.1f} s: {word} the margin of {margin:.0%}"
        if judgement.verdict == "undecided" and judgement.count:
            more = pairs_needed([timed(*each) for each in self._samples], self._rules) - judgement.count
            more_s = more * judgement.elapsed_s / judgement.count
            near = "it is so near to the margin that more time may not decide it"
            sentence += f"; about {more_s:.0f} s more may decide it" if more > 0 else f"; {near}"
        if judgement.verdict == "fail":
            sentence += self._grown()
        if not self.same():
            sentence += "; they answer differently"
        limit = f"{1 + margin:g}x baseline"
        first = self._first
        return Finding(first.runtime, first.kind, limit, judgement.verdict, sentence, *_evidence(judgement))

    def _grown(self) -> str:
        """Return a clause on the phase that most of it comes from; empty if the host tells none."""
        sides = [list(side) for side in zip(*self._samples, strict=True)]
        base_ns, head_ns = (statistics.median(each.elapsed_ns for each in side) for side in sides)
        bases, heads = map(median_phases, sides)
        grown_ns = {name: heads[name] - bases[name] for name in heads if name in bases}
        name = max(grown_ns, key=lambda each: grown_ns[each], default="")
        if not name or 2 * grown_ns[name] < head_ns - base_ns:
            return ""
        return f"; {name} grew most, {_ms(bases[name])} → {_ms(heads[name])}"


def timed(base: Sample, head: Sample) -> TimedPair:
    """Return the pair of these two, with their CPU time if that of both is known."""
    used = (base.cpu_ns, head.cpu_ns) if base.cpu_ns and head.cpu_ns else None
    return TimedPair((base.elapsed_ns, head.elapsed_ns), used)


def _evidence(judgement: Judgement) -> tuple[float | None, float | None, float | None, int]:
    between = judgement.interval
    return (
        judgement.estimate if math.isfinite(judgement.estimate) else None,
        between.low if between else None,
        between.high if between else None,
        judgement.count,
    )
