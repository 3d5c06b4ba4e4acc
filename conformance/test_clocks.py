"""Time is the machine's: the clocks are near its own, go on, and a sleep lasts as long as was asked.

Bounds are such that a busy machine cannot break them: what a guest measures lies between what it asked for and what
passes around it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from conformance.asking import ANYTHING, Asking
from pytest_wasmedge.model import timed_out

#: How far a clock of the host may be from ours; a deployed edge has its own.
NEAR_NS, NEAR_DEPLOYED_NS = 1_000_000_000, 60_000_000_000
SLEEP_NS, LONGEST_SLEEP_NS = 200_000_000, 4_000_000_000
#: JavaScript tells the time of day in whole milliseconds, and browsers round monotonic time.
ROUNDED_NS = 5_000_000
#: The time of day may be set between two invocations.
SET_NS = 500_000_000
ATTEMPTS = 3
#: A sleep twice as long as asked for is beyond this, whatever an invocation takes besides.
TOO_LONG = 1.7

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

    def slept_ns() -> tuple[int, int]:
        monotonic_ns, of_day_ns = map(int, run(SLEEPING, ANYTHING).stdout.split())
        return monotonic_ns, of_day_ns

    _check_clocks(run, SLEEPING.encode(), slept_ns)


def test_sleep(run: Asking) -> None:
    """A program that sleeps for 0.2 s, or longer, does so by our clock, too, and for no longer."""
    _check_slept(run, lambda sleep_ms: run(f"sleep {sleep_ms / 1000}", b""))


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

    def slept_ns() -> tuple[int, int]:
        before, (error,), after = ask.numbers(b"sleep 200\n")
        if error:
            ask.fail(f"waiting for a clock ends with error {error}, not with a time")
        return after[1] - before[1], after[0] - before[0]

    _check_clocks(ask, b"sleep 200\n", slept_ns)


def test_sleep_of_any_guest(ask: Asking) -> None:
    """A guest of any kind that waits for 0.2 s, or longer, does so by our clock, too, and for no longer."""
    _check_slept(ask, lambda sleep_ms: ask.numbers(b"sleep %d\n" % sleep_ms))


def test_time_of_day_is_not_coarse(ask: Asking) -> None:
    """Of ten times of day, not all are whole hundredths of a second: by chance that is one in 10^10."""
    told_ns = [ask.numbers(b"clocks 0\n")[0][1] for _ in range(10)]
    if not any(now_ns % 10_000_000 for now_ns in told_ns):
        ask.fail(
            f"its time of day is coarse: all of ten are whole hundredths of a second, such as {told_ns[-1]} ns"
        )


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
    # It can only be much shorter than what passes around it if this process was kept from running, or took long to stop
    # the host: neither takes as long as the last of these.
    for timeout_s in (0.2, 1.0, 5.0):
        # A host that was stopped with its guest starts again here.
        ask(b"")
        began_ns = time.perf_counter_ns()
        elapsed_ns = ask(b"loop\n", ending=timed_out(), timeout_s=timeout_s).timings.elapsed_ns
        passed_ns = time.perf_counter_ns() - began_ns
        told.append(f"{elapsed_ns} of {passed_ns}")
        if elapsed_ns > passed_ns:
            break
        if 2 * elapsed_ns > passed_ns:
            return
    ask.fail(f"elapsed_ns is not the time that an invocation takes, in ns: {', '.join(told)}")


def test_phases_are_parts_of_the_time(ask: Asking) -> None:
    """What a host tells of the phases of an invocation is nanoseconds within the time that it took."""
    request = b"fill 300000 300000 64\n"
    began_ns = time.perf_counter_ns()
    phases_ns = ask(request, ANYTHING, ANYTHING, data=True).timings.phases_ns
    passed_ns = time.perf_counter_ns() - began_ns
    if phases_ns and not 0 < sum(phases_ns.values()) <= passed_ns + ROUNDED_NS:
        ask.fail(
            f"the phases of an invocation that took {passed_ns} ns are not parts of it: {dict(phases_ns)}"
        )


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


def _check_clocks(ask: Asking, request: bytes, slept_ns: Callable[[], tuple[int, int]]) -> None:
    __tracebackhide__ = True
    # The time of day may be set meanwhile, but not each time.
    for _ in range(ATTEMPTS):
        began_ns = time.perf_counter_ns()
        monotonic_ns, of_day_ns = slept_ns()
        passed_ns = time.perf_counter_ns() - began_ns
        # Where a host cannot sleep, its clocks alone go on: whether it does is another test.
        least_ns, most_ns = SLEEP_NS - 2 * ROUNDED_NS, max(passed_ns, SLEEP_NS) + ROUNDED_NS
        wrong = [
            f"its {clock} went on by {went_on_ns} ns"
            for clock, went_on_ns in (("monotonic clock", monotonic_ns), ("time of day", of_day_ns))
            if not least_ns <= went_on_ns <= most_ns
        ]
        if not wrong:
            return
    ask.fail(
        f"during a sleep of {SLEEP_NS} ns {' and '.join(wrong)}, our clock by {passed_ns} ns around it: it runs at a "
        "speed or in a unit of its own, or the sleep is another one than asked for",
        stdin=request,
    )


def _check_slept(ask: Asking, sleep: Callable[[int], object]) -> None:
    __tracebackhide__ = True
    told: list[str] = []
    # A busy machine makes it longer, but not each time.
    for _ in range(ATTEMPTS):
        # On a machine that is so busy that an invocation takes as long without a sleep, only a longer sleep shows.
        asked_ns = min(max(SLEEP_NS, 4 * _without_sleep_ns(ask)), LONGEST_SLEEP_NS)
        began_ns = time.perf_counter_ns()
        sleep(asked_ns // 1_000_000)
        passed_ns = time.perf_counter_ns() - began_ns
        if passed_ns < asked_ns - ROUNDED_NS:
            ask.fail(f"it did not sleep: asked for {asked_ns} ns, the guest was back after {passed_ns} ns")
        if passed_ns - _without_sleep_ns(ask) < TOO_LONG * asked_ns:
            return
        told.append(f"asked for {asked_ns} ns, the guest was back after {passed_ns} ns")
    ask.fail(f"it sleeps too long: {'; '.join(told)}")


def _without_sleep_ns(ask: Asking) -> int:
    """Return how long an invocation takes that does not sleep."""
    began_ns = time.perf_counter_ns()
    ask(b"")
    return time.perf_counter_ns() - began_ns
