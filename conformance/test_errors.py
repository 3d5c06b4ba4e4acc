"""An error reads the same everywhere, on stderr alone, and shows nothing of the host."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_wasmedge.model import Host, Outcome, exited
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.leaks import assert_no_leaks


@pytest.mark.wasm_cases("errors")
def test_case(wasm_case: Case, check_case: Callable[[Case], Outcome]) -> None:
    """A failing program of the corpus fails as its reference says."""
    check_case(wasm_case)


def test_uncaught_exception_exits_one(ruby: Host) -> None:
    """An uncaught exception ends with status 1 and reports on stderr alone."""
    source = b"raise 'boom'\n"
    outcome = ruby.run(source)

    assert outcome.ending == exited(1)
    assert outcome.stdout == b""
    assert b"boom (RuntimeError)" in outcome.stderr
    assert outcome.stderr.endswith(b"\n")
    assert_no_leaks(outcome, source)


def test_output_before_an_error_is_kept(ruby: Host) -> None:
    """What a program printed before it failed is on stdout, whole."""
    outcome = ruby.run("puts 'before'\nraise ArgumentError, 'after'\n")

    assert outcome.stdout == b"before\n"
    assert b"after (ArgumentError)" in outcome.stderr
    assert outcome.ending == exited(1)


def test_backtrace_names_the_program_only(ruby: Host) -> None:
    """A backtrace holds lines of the program, and no file but the program's."""
    source = b"def inner = raise(KeyError, 'deep')\ndef outer = inner\nouter\n"
    outcome = ruby.run(source)
    places = [line.split(b":in ")[0].strip().removeprefix(b"from ") for line in outcome.stderr.splitlines()]

    assert outcome.ending == exited(1)
    assert len(places) == 3
    assert len({place.split(b":")[0] for place in places}) == 1
    assert [place.split(b":")[1] for place in places] == [b"1", b"2", b"3"]
    assert_no_leaks(outcome, source)


def test_stack_overflow_is_an_exception(ruby: Host) -> None:
    """Endless recursion in Ruby is a SystemStackError that a program can rescue, not a dead host."""
    outcome = ruby.run(
        "def down(n) = down(n + 1)\nbegin\n  down(0)\nrescue SystemStackError => e\n  puts e.class\nend\n"
    )

    assert outcome.stdout == b"SystemStackError\n"
    assert outcome.ending == exited(0)
