"""Every invocation ends, a runaway one is told as such, and the next one works."""

from __future__ import annotations

import pytest

from conformance.asking import ANYTHING, Asking
from conformance.conftest import NARROW, PATIENT_S
from pytest_wasmedge.model import Host, Invocation, timed_out

RUNAWAYS = {
    "endless_loop": "loop {}\n",
    "endless_output": "loop { $stdout.write('x' * 1000) }\n",
    "endless_sleep": "sleep\n",
    "rescues_everything": "begin\n  loop {}\nrescue Exception\n  retry\nensure\n  loop {}\nend\n",
}
#: Not a whole second, which a host might round to.
LIMIT_S = 0.45
#: A guest that is stopped at half of its limit, or at twice, is beyond these; a busy machine only makes it later, and
#: not five times in a row.
TOO_SOON, TOO_LATE = 0.9, 1.8
ATTEMPTS = 5


@pytest.mark.parametrize("name", RUNAWAYS)
def test_runaway_is_stopped(run: Asking, name: str) -> None:
    """A guest that does not end is stopped at its time limit, and the host serves on."""
    run(RUNAWAYS[name], ANYTHING, ANYTHING, timed_out(), timeout_s=run.once_started_s(), data=True)
    run("puts 'alive'\n", b"alive\n", meaning="what was left of a stopped guest disturbs the next one")


def test_time_limit_of_an_invocation(ask: Asking) -> None:
    """A guest is stopped at its time limit: neither at half of it nor at twice."""
    _check_time_limit(ask, LIMIT_S, LIMIT_S)


def test_time_limit_of_a_host(ask_narrow: Asking) -> None:
    """An invocation without a time limit of its own has its host's."""
    _check_time_limit(Asking(ask_narrow.host), None, NARROW.timeout_s)


def test_sleep_within_the_limit_is_no_runaway(run: Asking) -> None:
    """A guest that sleeps and then ends in time is left alone."""
    run("sleep 0.05\nputs 'rested'\n", b"rested\n")


def test_memory_limit_is_an_exception(run: Asking) -> None:
    """A guest that wants more memory than its limit gets a NoMemoryError, and the next one works."""
    _needs_memory_limit(run.host)
    # Asked for at once, so that a host which keeps the limit has nothing to fill.
    run(
        f"begin\n  'x' * {run.host.limits.memory_bytes}\nrescue NoMemoryError => e\n  puts e.class\nend\n",
        b"NoMemoryError\n",
        meaning="the host does not keep the memory limit",
    )
    run("puts 'alive'\n", b"alive\n")


def test_memory_limit_of_any_guest(ask_narrow: Asking) -> None:
    """A guest of any kind gets all the memory of its limit, and not a page more."""
    _needs_memory_limit(ask_narrow.host)
    ((_, _, pages),) = ask_narrow.numbers(b"memory\n")
    free = NARROW.memory_pages - pages
    ask_narrow(b"grow %d\n" % free, b"%d \n" % pages, meaning="the host gives less memory than its limit")
    ask_narrow(
        b"grow %d\n" % (free + 1), b"4294967295 \n", meaning="the host gives more memory than its limit"
    )


def test_output_limit(ask_narrow: Asking) -> None:
    """A guest that writes less than the limit of both streams is left alone; one that writes more is stopped."""
    half = NARROW.output_bytes // 2
    for out, err in ((half, half - 8), (2 * half, 0)):
        outcome = ask_narrow(b"fill %d %d 8192\n" % (out, err), ANYTHING, ANYTHING)
        if (len(outcome.stdout), len(outcome.stderr)) != (out, err):
            ask_narrow.fail(f"output under the limit of {NARROW.output_bytes} bytes is cut", outcome, b"fill")
    for out, err in ((2 * half, 16384), (half, 2 * half)):
        request = b"fill %d %d 8192\n" % (out, err)
        outcome = ask_narrow.host.invoke(Invocation(request, timeout_s=ask_narrow.timeout_s))
        if outcome.ending.kind != "host_failed" or "limit" not in outcome.ending.detail:
            ask_narrow.fail(f"the output limit of {NARROW.output_bytes} bytes is not kept", outcome, request)
    ask_narrow(b"echo\nalive", b"alive", b"alive")


def _needs_memory_limit(host: Host) -> None:
    if "memory_limit" not in host.runtime.capabilities:
        pytest.skip(f"{host.runtime.name} has no memory limit to set")


def _check_time_limit(ask: Asking, timeout_s: float | None, limit_s: float) -> None:
    __tracebackhide__ = True
    passed: list[float] = []
    for _ in range(ATTEMPTS):
        # A host that was stopped with its guest starts again here, and is stopped after the time that is told.
        ask(b"", timeout_s=PATIENT_S)
        outcome = ask(b"loop\n", ending=timed_out(), timeout_s=timeout_s)
        passed.append(outcome.timings.elapsed_ns / 1e9)
        if passed[-1] < TOO_SOON * limit_s:
            break
        if passed[-1] < TOO_LATE * limit_s:
            return
    told = ", ".join(f"{each:.2f}" for each in passed)
    ask.fail(
        f"with a time limit of {limit_s:g} s, a loop without end was stopped after {told} s: the host keeps another "
        "time limit"
    )
