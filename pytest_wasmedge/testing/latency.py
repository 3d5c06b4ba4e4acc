"""Faults in how long something takes, and in what is said of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome, Timings
from pytest_wasmedge.testing.fault import Fault, Invoke, Plant, Start
from pytest_wasmedge.testing.planting import Counter, told

_SLOW = ("slow", "ms", "latency", "ceiling")
_TIMINGS = ("elapsed", "timings", "clock", "ms")


def _starting_slowly(pause_s: float) -> Callable[[Start], Start]:
    def around(start: Start) -> Start:
        def started(artifact: Artifact, limits: Limits) -> Host:
            host = start(artifact, limits)
            time.sleep(pause_s)
            return host

        return started

    return around


def _as_before(start: Start) -> Start:
    """Start as ever, but not a host that is shared: what is measured is its start."""
    return start


def _slow(pause_s: Callable[[int], float]) -> Plant:
    """Return a plant that waits after each invocation, for as long as its number says."""

    def plant(host: Host) -> Invoke:
        counter = Counter()

        def invoke(invocation: Invocation) -> Outcome:
            outcome = host.invoke(invocation)
            waited_s = pause_s(counter.next())
            time.sleep(waited_s)
            timings = replace(outcome.timings, elapsed_ns=outcome.timings.elapsed_ns + int(waited_s * 1e9))
            return replace(outcome, timings=timings)

        return invoke

    return plant


def _timings(change: Callable[[Timings], Timings]) -> Plant:
    return told(lambda each: replace(each, timings=change(each.timings)))


def _fault(name: str, sentence: str, plant: Plant, *says: str) -> Fault:
    return Fault(name, "latency", sentence, plant, says or _SLOW, starting=_as_before)


FAULTS = (
    Fault(
        "starts_slowly",
        "latency",
        "takes half a second longer to start",
        says=_SLOW,
        starting=_starting_slowly(0.5),
    ),
    Fault(
        "starts_very_slowly",
        "latency",
        "takes two seconds longer to start",
        says=_SLOW,
        starting=_starting_slowly(2.0),
    ),
    _fault(
        "first_is_slow",
        "takes a second longer for its first invocation",
        _slow(lambda number: 1.0 if number == 1 else 0),
    ),
    _fault(
        "grows_slower", "takes a millisecond longer with each invocation", _slow(lambda number: number / 1000)
    ),
    _fault(
        "elapsed_is_zero",
        "says that an invocation took no time",
        _timings(lambda each: replace(each, elapsed_ns=0)),
        *_TIMINGS,
    ),
    _fault(
        "elapsed_in_ms",
        "tells milliseconds as nanoseconds",
        _timings(lambda each: replace(each, elapsed_ns=each.elapsed_ns // 1_000_000)),
        *_TIMINGS,
    ),
    _fault(
        "elapsed_is_half",
        "says that an invocation took half its time",
        _timings(lambda each: replace(each, elapsed_ns=each.elapsed_ns // 2)),
        *_TIMINGS,
    ),
    _fault(
        "phases_are_zero",
        "says that each phase took no time",
        _timings(lambda each: replace(each, phases_ns=dict.fromkeys(each.phases_ns or {"run": 0}, 0))),
        "phase",
    ),
)
