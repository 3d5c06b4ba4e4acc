"""Every invocation ends, a runaway one is told as such, and the next one works."""

from __future__ import annotations

import time

import pytest

from pytest_wasmedge.model import Host, exited, timed_out

RUNAWAYS = {
    "endless_loop": "loop {}\n",
    "endless_output": "loop { $stdout.write('x' * 1000) }\n",
    "endless_sleep": "sleep\n",
    "rescues_everything": "begin\n  loop {}\nrescue Exception\n  retry\nensure\n  loop {}\nend\n",
}


@pytest.mark.parametrize("name", RUNAWAYS)
def test_runaway_is_stopped(ruby: Host, name: str) -> None:
    """A guest that does not end is stopped at its time limit, and the host serves on."""
    # Not before Ruby has started: an interpreter takes longer for that than others for a program.
    began_s = time.monotonic()
    ruby.run("puts 'started'\n")
    outcome = ruby.run(RUNAWAYS[name], timeout_s=max(0.25, 2 * (time.monotonic() - began_s)))
    next_one = ruby.run("puts 'alive'\n")

    assert outcome.ending == timed_out()
    assert next_one.stdout == b"alive\n"
    assert next_one.ending == exited(0)


def test_sleep_within_the_limit_is_no_runaway(ruby: Host) -> None:
    """A guest that sleeps and then ends in time is left alone."""
    outcome = ruby.run("sleep 0.05\nputs 'rested'\n")

    assert outcome.stdout == b"rested\n"
    assert outcome.ending == exited(0)


def test_memory_limit_is_an_exception(ruby: Host) -> None:
    """A guest that wants more memory than its limit gets a NoMemoryError, and the next one works."""
    if "memory_limit" not in ruby.runtime.capabilities:
        pytest.skip(f"{ruby.runtime.name} has no memory limit to set")
    # Asked for at once, so that a host which keeps the limit has nothing to fill.
    outcome = ruby.run(
        f"begin\n  'x' * {ruby.limits.memory_bytes}\nrescue NoMemoryError => e\n  puts e.class\nend\n"
    )
    next_one = ruby.run("puts 'alive'\n")

    assert outcome.stdout == b"NoMemoryError\n"
    assert outcome.ending == exited(0)
    assert next_one.stdout == b"alive\n"
