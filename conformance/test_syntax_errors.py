"""A SyntaxError points at the program, and at nothing else: no pointer, debug format, host path or trace."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.asking import Asking, holding
from pytest_wasmedge.model import Host, Outcome, exited
from pytest_wasmedge.portability.corpus import Case


@pytest.mark.wasm_cases("syntax_errors", given=False)
def test_case(wasm_case: Case, ruby: Host, check_case: Callable[[Case], Outcome]) -> None:
    """A program that cannot be parsed is refused as its reference says."""
    check_case(wasm_case)


def test_syntax_error_fails(run: Asking) -> None:
    """A broken program ends with status 1, prints nothing on stdout, and its message names the line."""
    run("puts 'never'\nputs (1..5\n", b"", holding(b"main.rb:2"), exited(1))


def test_syntax_errors_do_not_change(run: Asking) -> None:
    """The second SyntaxError of a host reads like the first, whatever was run between."""
    source = "def f\n  1 +\nend end\n"
    first = run(source, b"", holding(b"main.rb:"), exited(1)).stderr
    run("puts (2\n", b"", holding(b"main.rb:1"), exited(1))
    run(source, b"", first, exited(1), meaning="text of an earlier invocation is left in this one")


def test_rescued_syntax_error_is_a_value(run: Asking) -> None:
    """A SyntaxError of eval can be rescued, and its message is clean too."""
    source = "begin\n  eval('1 +* 2')\nrescue SyntaxError => e\n  puts e.message\nend\n"
    run(source, holding(b"1 +* 2"))
