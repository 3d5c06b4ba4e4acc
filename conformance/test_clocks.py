"""Time is the machine's: the clocks are near its own, go on, and a sleep lasts as long as was asked.

Bounds are such that a busy machine cannot break them: what a guest measures lies between what it asked for and what
passes around it.
"""

from __future__ import annotations

import itertools
import time

from conformance.asking import ANYTHING, Asking
from pytest_wasmedge.model import timed_out

#: How far a clock of the host may be from ours; a deployed edge has its own.
NEAR_NS, NEAR_DEPLOYED_NS = 1_000_000_000, 60_000_000_000
SLEEP_NS = 200_000_000
#: JavaScript tells the time of day in whole milliseconds, and browsers round monotonic time.
ROUNDED_NS = 5_000_000
#: The time of day may be set while a guest sleeps.
SET_NS = 500_000_000
ATTEMPTS = 3

TIMES = (
    "{ Process.clock_gettime(Process::CLOCK_REALTIME, :nanosecond) => (Time.now.to_r * 1_000_000_000).to_i }"
    ".each { |clock, now| puts clock, now }\n"
)
MONOTONIC = "Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)"
OF_DAY = "Process.clock_gettime(Process::CLOCK_REALTIME, :nanosecond)"
SLEEPING = f"t, w = {MONOTONIC}, {OF_DAY}\nsleep 0.2\nputs {MONOTONIC} - t, {OF_DAY} - w\n"


def test_time_of_day(run: Asking) -> None:
    """The time of day that Ruby tells is the machine's, in both ways to ask for it."""
    began_ns = time.time_ns()
    outcome = run(TIMES, ANYTHING)
    _check_near(run, outcome.stdout.split(), began_ns, TIMES.encode())


def test_zone(run: Asking) -> None:
    """Time is told in UTC: the zone of the machine is not the guest's."""
    run(
        "t = Time.now\np t.utc_offset, t.zone, Time.at(0).hour, Time.at(0).year\n",
        b'0\n"UTC"\n0\n1970\n',
        meaning="the host gives its own time zone to guests",
    )


def test_monotonic_time_never_goes_back(run: Asking) -> None:
    """2,000 readings of the monotonic clock are in order."""
    run(
        f"readings = Array.new(2000) {{ {MONOTONIC} }}\np readings.each_cons(2).all? {{ |a, b| a <= b }}\n",
        b"true\n",
        meaning="the host's monotonic clock goes back",
    )


def test_clocks_during_a_sleep(run: Asking) -> None:
    """While a program sleeps for 0.2 s, both clocks go on by that, and by no more than passes."""
    began_ns = time.perf_counter_ns()
    outcome = run(SLEEPING, ANYTHING)
    passed_ns = time.perf_counter_ns() - began_ns
    monotonic_ns, of_day_ns = map(int, outcome.stdout.split())
    _check_clocks(run, SLEEPING.encode(), monotonic_ns, of_day_ns, passed_ns)


def test_sleep(run: Asking) -> None:
    """A program that sleeps for 0.2 s does so by our clock, too."""
    began_ns = time.perf_counter_ns()
    run(SLEEPING, ANYTHING)
    _check_slept(run, time.perf_counter_ns() - began_ns)


def test_time_of_day_of_any_guest(ask: Asking) -> None:
    """The time of day that WASI tells is the machine's, and the resolution of both clocks is one that can be."""
    began_ns = time.time_ns()
    of_day, monotonic, _ = ask.numbers(b"clocks 0\n")
    _check_near(ask, of_day[1:], began_ns, b"clocks 0\n")
    for clock, (resolution_ns, _) in enumerate((of_day, monotonic)):
        if not 1 <= resolution_ns <= 1_000_000_000:
            ask.fail(f"clock {clock} has a resolution of {resolution_ns} ns")


def test_monotonic_time_of_any_guest(ask: Asking) -> None:
    """500 readings of WASI's monotonic clock are in order."""
    readings_ns = ask.numbers(b"clocks 500\n")[2]
    for before_ns, after_ns in itertools.pairwise(readings_ns):
        if after_ns < before_ns:
            ask.fail(f"the monotonic clock goes back: after {before_ns} ns it told {after_ns} ns")


def test_clocks_of_any_guest_during_a_sleep(ask: Asking) -> None:
    """While a guest of any kind waits for 0.2 s, both clocks go on by that, and by no more than passes."""
    began_ns = time.perf_counter_ns()
    before, (error,), after = ask.numbers(b"sleep 200\n")
    passed_ns = time.perf_counter_ns() - began_ns
    if error:
        ask.fail(f"waiting for a clock ends with error {error}, not with a time")
    _check_clocks(ask, b"sleep 200\n", after[1] - before[1], after[0] - before[0], passed_ns)


def test_sleep_of_any_guest(ask: Asking) -> None:
    """A guest of any kind that waits for 0.2 s does so by our clock, too."""
    began_ns = time.perf_counter_ns()
    ask.numbers(b"sleep 200\n")
    _check_slept(ask, time.perf_counter_ns() - began_ns)


def test_clocks_go_on_between_invocations(ask: Asking) -> None:
    """Of two invocations, the second tells a later time of day, by as much as passed."""
    began_ns = time.perf_counter_ns()
    first_ns = ask.numbers(b"clocks 0\n")[0][1]
    time.sleep(SLEEP_NS / 1e9)
    second_ns = ask.numbers(b"clocks 0\n")[0][1]
    passed_ns = time.perf_counter_ns() - began_ns
    if not SLEEP_NS - ROUNDED_NS <= second_ns - first_ns <= passed_ns + SET_NS:
        ask.fail(
            f"between two invocations its clock went on by {second_ns - first_ns} ns, where at least {SLEEP_NS} ns "
            f"passed, and at most {passed_ns} ns: it stands still, or runs at a speed of its own"
        )


def test_elapsed_time_is_told_as_it_was(ask: Asking) -> None:
    """`timings.elapsed_ns` is nanoseconds by our clock, from before an invocation to its end."""
    told: list[str] = []
    # It can only be much shorter than what passes around it if this process was kept from running: not three times.
    for _ in range(ATTEMPTS):
        began_ns = time.perf_counter_ns()
        elapsed_ns = ask(b"loop\n", ending=timed_out(), timeout_s=0.2).timings.elapsed_ns
        passed_ns = time.perf_counter_ns() - began_ns
        told.append(f"{elapsed_ns} of {passed_ns}")
        if elapsed_ns > passed_ns:
            break
        if 2 * elapsed_ns > passed_ns:
            return
    ask.fail(f"elapsed_ns is not the time that an invocation takes, in ns: {', '.join(told)}")


def _check_near(ask: Asking, told: list[bytes] | list[int], began_ns: int, request: bytes) -> None:
    __tracebackhide__ = True
    ended_ns = time.time_ns()
    near_ns = NEAR_DEPLOYED_NS if ask.host.runtime.deployed else NEAR_NS
    for now_ns in map(int, told):
        if not began_ns - near_ns <= now_ns <= ended_ns + near_ns:
            ask.fail(
                f"its time of day, {now_ns} ns, is {(now_ns - ended_ns) / 1e9:+.3f} s off: our clock went from "
                f"{began_ns} to {ended_ns} ns meanwhile",
                stdin=request,
            )


def _check_clocks(ask: Asking, request: bytes, monotonic_ns: int, of_day_ns: int, passed_ns: int) -> None:
    __tracebackhide__ = True
    # Where a host cannot sleep, its clocks alone go on: whether it does is another test.
    most_ns = max(passed_ns, SLEEP_NS)
    for clock, went_on_ns, slack_ns in (
        ("monotonic clock", monotonic_ns, ROUNDED_NS),
        ("time of day", of_day_ns, SET_NS),
    ):
        if not SLEEP_NS - 2 * ROUNDED_NS <= went_on_ns <= most_ns + slack_ns:
            ask.fail(
                f"during a sleep of {SLEEP_NS} ns its {clock} went on by {went_on_ns} ns, ours by {passed_ns} ns: it "
                "runs at a speed or in a unit of its own, or the sleep is another one than asked for",
                stdin=request,
            )


def _check_slept(ask: Asking, passed_ns: int) -> None:
    __tracebackhide__ = True
    if passed_ns < SLEEP_NS - ROUNDED_NS:
        ask.fail(f"it did not sleep: asked for {SLEEP_NS} ns, the guest was back after {passed_ns} ns")
