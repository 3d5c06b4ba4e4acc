"""A SyntaxError points at the program, and at nothing else: no pointer, debug format, host path or trace."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_wasmedge.model import Host, Invocation, Outcome, exited
from pytest_wasmedge.portability.compare import assert_same
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.leaks import assert_no_leaks
from pytest_wasmedge.portability.reference import Reference

BROKEN = {
    "missing_end": b"def f\n  1\n",
    "unclosed_parenthesis": b"puts (1..5\n",
    "stray_end": b"end\n",
    "unterminated_string": b"puts 'abc\n",
    "unterminated_heredoc": b"puts <<~A\n  text\n",
    "unterminated_regexp": b"p(/abc\n",
    "no_final_newline": b"if true",
    "invalid_utf8": b"puts '\xff\xfe'\n\xff = 1\n",
    "utf8_before": "puts 'häßlich ☃'; )\n".encode(),
    "many_errors": b"def f(\n)) end }\n" * 20,
    "deep_nesting": b"[" * 60 + b"\n",
    "long_line": b"x = '" + b"a" * 5000 + b"' +* 1\n",
    "nul_byte": b"puts 1\x00 +* 2\n",
    "crlf": b"puts 1\r\nputs (2\r\n",
}


@pytest.mark.wasm_cases("syntax_errors")
def test_case(wasm_case: Case, check_case: Callable[[Case], Outcome]) -> None:
    """A program that cannot be parsed is refused as its reference says."""
    check_case(wasm_case)


@pytest.mark.parametrize("name", BROKEN)
def test_nothing_internal_shows(ruby: Host, wasm_reference: Reference, name: str) -> None:
    """A broken program ends with status 1, prints nothing, and its message is the same everywhere and clean."""
    source = BROKEN[name]
    outcome = ruby.run(source)

    assert_no_leaks(outcome, source)
    assert_same(outcome, wasm_reference.of_invocation(Invocation(source)))
    if name == "nul_byte":
        return  # a NUL ends a Ruby program, as ^D does: what is after it is not parsed
    assert outcome.ending == exited(1)
    assert outcome.stdout == b""
    assert outcome.stderr


def test_rescued_syntax_error_is_a_value(ruby: Host) -> None:
    """A SyntaxError of eval can be rescued, and its message is clean too."""
    source = b"begin\n  eval('1 +* 2')\nrescue SyntaxError => e\n  puts e.message\nend\n"
    outcome = ruby.run(source)

    assert outcome.ending == exited(0)
    assert outcome.stdout
    assert outcome.stderr == b""
    assert_no_leaks(outcome, source)
