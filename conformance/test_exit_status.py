"""How a program ends is its own decision, and everybody hears the same of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_wasmedge.model import Host, Outcome, exited
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.excerpt import visible


@pytest.mark.wasm_cases("exit_status")
def test_case(wasm_case: Case, check_case: Callable[[Case], Outcome]) -> None:
    """A program of the corpus ends as its reference says."""
    check_case(wasm_case)


def test_empty_input_ends_by_itself(wasm_host: Host) -> None:
    """Whatever the guest is: given nothing, it starts, and ends without a trap."""
    outcome = wasm_host.run(b"")

    if outcome.ending.kind != "exited":
        pytest.fail(
            f"{wasm_host.runtime.name}: {wasm_host.artifact.name} does not survive empty input: "
            f"it ended as {outcome.ending} "
            f"({visible(outcome.ending.detail.encode()) or 'no detail'}); stderr: {outcome.stderr_text[:500]!r}. "
            "Run it by hand on this runtime; every other test depends on it.",
            pytrace=False,
        )


# wasmtime refuses statuses from 126 on, by a decision of its own: those are for a contract to record.
@pytest.mark.parametrize("status", [0, 1, 2, 3, 42, 64, 125])
def test_status_arrives(ruby: Host, status: int) -> None:
    """`exit N` ends with N, after what was printed."""
    outcome = ruby.run(f"puts 'done'\nexit {status}\n")

    assert outcome.ending == exited(status)
    assert outcome.stdout == b"done\n"
    assert outcome.stderr == b""


def test_abort_reports_and_fails(ruby: Host) -> None:
    """`abort` puts its message on stderr and ends with 1."""
    outcome = ruby.run("abort 'no more'\n")

    assert outcome.ending == exited(1)
    assert outcome.stdout == b""
    assert outcome.stderr == b"no more\n"


def test_at_exit_blocks_run(ruby: Host) -> None:
    """Blocks given to `at_exit` run, last first, also after `exit`."""
    outcome = ruby.run("at_exit { puts 'first' }\nat_exit { puts 'last' }\nputs 'body'\nexit 5\n")

    assert outcome.stdout == b"body\nlast\nfirst\n"
    assert outcome.ending == exited(5)


def test_top_level_return_ends_well(ruby: Host) -> None:
    """`return` at the top level ends the program with status 0."""
    outcome = ruby.run("puts 'one'\nreturn\nputs 'two'\n")

    assert outcome.stdout == b"one\n"
    assert outcome.ending == exited(0)
