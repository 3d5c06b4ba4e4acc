"""A measurement takes as many samples as its comparison needs, and explains what came of it."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator
from itertools import count, cycle

import pytest

from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.gate import Rules
from pytest_wasmedge.latency.measurement import Comparison, Measurement
from pytest_wasmedge.latency.sampling import Sample
from pytest_wasmedge.latency.units import FloorMultiple, ms


def drawing(name: str, values_ms: list[float]) -> Callable[[], Sample]:
    """Return what takes samples of these latencies, over and over."""
    values: Iterator[float] = cycle(values_ms)
    phases = {"spawn": 2_000_000, "run": 5_000_000}
    return lambda: Sample("one", name, round(next(values) * 1e6), phases)


def measured(values_ms: list[float], *, strict: bool = False, floor_ms: float | None = None) -> Measurement:
    """Return a measurement that begins with five samples; its clock stands still."""
    return Measurement(
        "one",
        "cold/no-cache",
        drawing("cold/no-cache", values_ms),
        5,
        rules=Rules(),
        rng=random.Random(1),
        strict=strict,
        draw_floor=None if floor_ms is None else drawing("floor/no-cache", [floor_ms]),
        clock=lambda: 0.0,
    )


STEADY = [20.0, 20.2, 19.8, 20.4, 19.6]


def test_a_comparison_takes_what_it_needs() -> None:
    """`median < limit` adds samples until it is sure; what was taken before counts."""
    measurement = measured(STEADY)
    assert len(measurement.take().elapsed_ns) == 5

    assert measurement.median < ms(25)
    assert len(measurement.elapsed_ns) == 16
    assert measurement.median < "1s"
    assert ms(30) > measurement.median
    assert [finding.verdict for finding in measurement.findings] == ["pass"] * 3


def test_a_failure_is_explained() -> None:
    """The lines say median, interval, number, ceiling, phases, floor, and what to do."""
    measurement = measured(STEADY, floor_ms=7)

    assert not measurement.median < ms(15)
    lines = measurement.explanation()
    assert lines[0] == (
        "one cold/no-cache: median 20.0 ms, 99 % interval [19.0, 21.0] ms, n=16, 0.0 s: OVER its ceiling of 15ms"
    )
    assert lines[1] == "phases: spawn 2.0 ms, run 5.0 ms"
    assert lines[2] == (
        "floor (an artifact that does nothing, n=5): 7.0 ms; the artifact costs 13.0 ms on top"
    )
    assert lines[3].startswith("what to do: find the phase that grew")


def test_an_artifact_that_costs_nothing() -> None:
    """Where the floor is no lower than the artifact's own starts, no cost below zero is told."""
    measurement = measured(STEADY, floor_ms=21)
    assert not measurement.median < ms(15)

    assert measurement.explanation()[2].endswith("21.0 ms; the artifact costs nothing measurable on top")


@pytest.mark.parametrize("strict", [False, True])
def test_undecided_passes_unless_strict(strict: bool) -> None:
    """A median right at its ceiling is undecided; that holds, or not if everything must be decided."""
    measurement = measured(STEADY, strict=strict)

    assert (measurement.median < ms(20)) is not strict
    assert measurement.findings[0].verdict == "undecided"
    assert "undecided about its ceiling of 20ms" in measurement.findings[0].sentence
    assert "--wasm-latency-budget" in measurement.explanation()[-1]


def test_a_multiple_of_the_floor() -> None:
    """It is judged in pairs with the floor, and says so in multiples."""
    measurement = measured(STEADY, floor_ms=5)

    assert measurement.median < FloorMultiple(5)
    assert not measurement.median < "3x floor"
    assert "median 4.00x floor" in measurement.findings[1].sentence
    assert "OVER its ceiling of 3x floor" in measurement.findings[1].sentence


def test_several_limits_are_all_judged() -> None:
    """A median is under a tuple of limits if it is under each; the explanation is about those that it is not under."""
    measurement = measured(STEADY, floor_ms=5)

    assert measurement.median < (ms(25), "5x floor")
    assert not measurement.median < (ms(15), "5x floor")
    assert [finding.verdict for finding in measurement.findings] == ["pass", "pass", "fail", "pass"]
    assert "OVER its ceiling of 15ms" in measurement.explanation()[0]
    assert not any("5x floor" in line for line in measurement.explanation())


def test_a_slower_host_is_seen_by_a_duration_alone() -> None:
    """Where floor and start both take 30 % longer, their ratio is what it was."""
    measurement = measured([1.3 * each for each in STEADY], floor_ms=1.3 * 7)

    assert measurement.median < "3.5x floor"
    assert not measurement.median < (ms(25), "3.5x floor")


def test_a_multiple_without_a_floor() -> None:
    """What has no floor cannot be held against one."""
    with pytest.raises(LatencyError, match="has no floor to compare with: give its ceiling in ms"):
        measured(STEADY).judge("3x floor")


def test_a_limit_without_a_unit() -> None:
    """A bare number is a mistake, not a latency."""
    with pytest.raises(TypeError):
        assert measured(STEADY).median < 25  # type: ignore[operator]
    with pytest.raises(LatencyError, match="'25' is no latency"):
        assert measured(STEADY).median < "25"


@pytest.mark.parametrize(("factor", "verdict", "words"), [
    (1.0, "pass", "within the margin of 5%"),
    (1.05, "undecided", "undecided about the margin of 5%"),
    (1.3, "fail", "BEYOND the margin of 5%"),
])  # fmt: skip
def test_against_a_baseline(factor: float, verdict: str, words: str) -> None:
    """Starts of two artifacts are compared in pairs; the first pair is not counted."""
    rng = random.Random(2)
    jitter = [rng.gauss(1, 0.01) for _ in range(997)]
    ticks = count()
    comparison = Comparison(
        drawing("cold/no-cache", [20 * each for each in jitter]),
        drawing("cold/no-cache", [20 * factor * each for each in jitter[7:]]),
        rules=Rules(most=100, budget_s=200),
        rng=random.Random(1),
        clock=lambda: float(next(ticks)),
    )
    comparison.gate.run()
    finding = comparison.finding()

    assert ("so near to the margin" in finding.sentence) == (verdict == "undecided")
    assert finding.verdict == verdict
    assert words in finding.sentence
    assert "times the baseline, interval [" in finding.sentence


@pytest.mark.parametrize(("phase", "told"), [
    ("compile", "; compile grew most, 30.0 ms → 42.0 ms"),
    ("", ""),
])  # fmt: skip
def test_the_phase_that_grew_is_told(phase: str, told: str) -> None:
    """A fail names the phase that most of it comes from; none if the host tells of no such phase."""

    def start(more_ms: int) -> Callable[[], Sample]:
        phases = {"spawn": 20, "compile": 30}
        if phase:
            phases[phase] += more_ms
        told_ns = {name: ms * 10**6 for name, ms in phases.items()}
        return lambda: Sample("one", "cold/no-cache", (50 + more_ms) * 10**6, told_ns, cpu_ns=10**6)

    rules, rng = Rules(most=40), random.Random(1)
    comparison = Comparison(start(0), start(12), rules=rules, rng=rng, clock=lambda: 0.0)
    comparison.gate.run()
    sentence = comparison.finding().sentence

    assert "in CPU time 1.000, interval [1.000, 1.000], " in sentence
    assert sentence.endswith(f"BEYOND the margin of 5%{told}")


def test_what_more_time_would_do_is_told() -> None:
    """An undecided comparison tells about how many seconds more would decide it, by the scatter of its pairs."""
    rng = random.Random(3)
    ticks = count()
    comparison = Comparison(
        drawing("cold/no-cache", [20 * math.exp(rng.gauss(0, 0.2)) for _ in range(99)]),
        drawing("cold/no-cache", [20 * math.exp(rng.gauss(0, 0.2)) for _ in range(99)]),
        rules=Rules(most=40),
        rng=random.Random(1),
        clock=lambda: float(next(ticks)),
    )
    comparison.gate.run()
    told = re.search(r"40 pairs, 40.0 s: undecided .*; about (\d+) s more", comparison.finding().sentence)

    assert told
    # (z sd / margin)^2 pairs of a second each, with z = 3.2 and sd = 0.2 * sqrt(2).
    assert 100 < int(told[1]) < 1000


def test_the_order_in_a_pair_is_drawn_by_lot() -> None:
    """Neither artifact always comes first, and the same seed draws the same order."""

    def order(seed: int) -> str:
        began: list[str] = []

        def drawing_of(letter: str) -> Callable[[], Sample]:
            return lambda: began.append(letter) or Sample("one", "cold/no-cache", 10**6)  # type: ignore[func-returns-value]

        rng = random.Random(seed)
        Comparison(
            drawing_of("b"), drawing_of("h"), rules=Rules(most=16), rng=rng, clock=lambda: 0.0
        ).gate.run()
        return "".join(began)

    assert order(1) == order(1) != order(2)
    assert {order(1)[i : i + 2] for i in range(0, len(order(1)), 2)} == {"bh", "hb"}


def test_what_takes_long_is_measured_less_often_at_first() -> None:
    """The first samples end with their time, but one is taken whatever it takes."""

    def taken(each_s: float) -> int:
        ticks = count(0.0, each_s)
        clock = lambda: next(ticks)  # noqa: E731
        draw = drawing("cold/no-cache", STEADY)
        measurement = Measurement(
            "one", "cold/no-cache", draw, 12, rules=Rules(), rng=random.Random(1), clock=clock
        )
        return len(measurement.take().elapsed_ns)

    assert [taken(0.1), taken(1.1), taken(60)] == [12, 4, 1]


def test_reading_takes_nothing() -> None:
    """No attribute, repr or explanation takes a sample, before a comparison or after it."""
    drawn: list[str] = []

    def noting(kind: str) -> Callable[[], Sample]:
        return lambda: drawn.append(kind) or Sample("one", kind, 20_000_000)  # type: ignore[func-returns-value]

    measurement = Measurement(
        "one",
        "cold/no-cache",
        noting("cold"),
        5,
        rules=Rules(),
        rng=random.Random(1),
        draw_floor=noting("floor"),
        clock=lambda: 0.0,
    )

    def read() -> None:
        repr(measurement), str(measurement), repr(measurement.median), str(measurement.median)
        _ = measurement.runtime, measurement.kind, measurement.samples, measurement.elapsed_ns
        _ = measurement.phases_ns, measurement.floor, measurement.findings
        measurement.explanation()

    read()
    for name in ("median_ns", "interval"):
        with pytest.raises(LatencyError, match=r"Call take\(\), or compare the median with a limit\."):
            getattr(measurement, name)
    assert drawn == []
    assert not measurement.median < ms(1)
    taken = list(drawn)
    read()
    _ = measurement.median_ns, measurement.interval
    assert drawn == taken
    assert taken.count("floor") == 5


def test_take_takes() -> None:
    """`take()` takes the first samples once, `take(n)` so many more; both return the measurement."""
    measurement = measured(STEADY)

    assert len(measurement.take().samples) == len(measurement.take().samples) == 5
    assert len(measurement.take(3).samples) == 8
    assert measurement.take().median_ns == 20_000_000
