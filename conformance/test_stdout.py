"""What a program prints is the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_wasmedge.model import Host, Outcome, exited
from pytest_wasmedge.portability.corpus import Case


@pytest.mark.wasm_cases(exclude=("errors", "exit_status", "streams", "syntax_errors"))
def test_case(wasm_case: Case, check_case: Callable[[Case], Outcome]) -> None:
    """A program of the corpus prints what its reference says."""
    check_case(wasm_case)


def test_puts_ends_with_one_newline(ruby: Host) -> None:
    """`puts` prints the value and one newline, and nothing stands on stderr."""
    outcome = ruby.run("puts (1..5).sum")

    assert outcome.stdout == b"15\n"
    assert outcome.stderr == b""
    assert outcome.ending.ok


def test_unflushed_output_arrives(ruby: Host) -> None:
    """What was printed without a newline or a flush is there when the program has ended."""
    outcome = ruby.run("print 'half a line'")

    assert outcome.stdout == b"half a line"
    assert outcome.ending.ok


def test_floats_print_the_shortest_text(ruby: Host) -> None:
    """Floats print the shortest text that reads back as the same number."""
    outcome = ruby.run("p 0.1 + 0.2, 1e23, 5e-324, 100.0, 1.0e16, -0.0")

    assert outcome.stdout == b"0.30000000000000004\n1.0e+23\n5.0e-324\n100.0\n1.0e+16\n-0.0\n"
    assert outcome.ending == exited(0)
