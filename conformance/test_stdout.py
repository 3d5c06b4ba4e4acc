"""Same program, same stdout, byte for byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.asking import Asking
from pytest_wasmedge.model import Host, Outcome
from pytest_wasmedge.portability.corpus import Case


@pytest.mark.wasm_cases(exclude=("errors", "exit_status", "inputs", "streams", "syntax_errors"), given=False)
def test_case(wasm_case: Case, ruby: Host, check_case: Callable[[Case], Outcome]) -> None:
    """A program of the corpus prints what its reference says."""
    check_case(wasm_case)


def test_puts_ends_with_one_newline(run: Asking) -> None:
    """`puts` prints the value and one newline, and nothing stands on stderr."""
    run("puts (1..5).sum", b"15\n")


def test_unflushed_output_arrives(run: Asking) -> None:
    """What was printed without a newline or a flush is there when the program has ended."""
    run(
        "print 'half a line'",
        b"half a line",
        meaning="the host takes streams for lines, or drops what comes last",
    )


def test_floats_print_the_shortest_text(run: Asking) -> None:
    """Floats print the shortest text that reads back as the same number."""
    run(
        "p 0.1 + 0.2, 1e23, 5e-324, 100.0, 1.0e16, -0.0",
        b"0.30000000000000004\n1.0e+23\n5.0e-324\n100.0\n1.0e+16\n-0.0\n",
    )
