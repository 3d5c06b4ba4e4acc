"""What to look at first on a new host: if one of these is red, mend conftest.py before you run the suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_wasmedge import Host, exited, timed_out, trapped

# The guest is the built-in Ruby. With an artifact of yours (--wasm-artifact), write these in its language.


def test_streams(host: Host) -> None:
    """Each stream has the guest's bytes and no line of the host's."""
    outcome = host.run("$stdout << 'out'; $stderr << 'err'")

    assert (outcome.stdout, outcome.stderr) == (b"out", b"err")
    assert outcome.ending == exited(0)


def test_much_output(host: Host) -> None:
    """Five megabytes arrive whole: some hosts lose what is in the pipe at their end."""
    outcome = host.run("$stdout.write('x' * 5_000_000)")

    assert (len(outcome.stdout), outcome.ending) == (5_000_000, exited(0))


def test_statuses(host: Host) -> None:
    """The guest's own status comes through: some hosts make 1 of each."""
    assert [host.run(f"exit {status}").ending for status in (0, 1, 3, 125)] == [
        exited(status) for status in (0, 1, 3, 125)
    ]


def test_trap(host: Host) -> None:
    """A trap is told as one, and the host's words about it are not the guest's stderr."""
    outcome = host.run("$stderr << 'mine'; def f = [1].map { f }; f")

    assert outcome.ending == trapped()
    assert outcome.stderr == b"mine"


def test_time_limit(host: Host) -> None:
    """A guest without an end is stopped with all that the host has started, and the next one runs."""
    assert host.run("loop {}", timeout_s=3).ending == timed_out()
    assert host.run("puts 1").stdout == b"1\n"


def test_nothing_is_granted(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest sees neither a variable nor a file of this machine."""
    monkeypatch.setenv("SECRET", "1")
    outcome = host.run(f"p ENV['SECRET'], ENV['HOME'], ENV['PATH'], File.exist?({str(Path(__file__))!r})")

    assert os.environ["SECRET"] == "1"
    assert outcome.stdout == b"nil\nnil\nnil\nfalse\n"


def test_variables_and_arguments(host: Host) -> None:
    """What an invocation gives arrives."""
    outcome = host.run("puts ENV['GIVEN'], ARGV", args=["a b", "--help"], env={"GIVEN": "größe"})

    assert outcome.stdout_text == "größe\na b\n--help\n"
